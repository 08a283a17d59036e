// Package testca gives tests a certificate authority of their own.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA signs certificates that are valid for an hour.
type CA struct {
	t           testing.TB
	dir         string
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// New makes an authority whose certificate is in dir as NAME.crt.
func New(t testing.TB, dir, name string) *CA {
	t.Helper()
	ca := &CA{t: t, dir: dir}
	template := template(t, name)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	ca.Certificate, ca.key = sign(t, template, template, nil)
	write(t, filepath.Join(dir, name+".crt"), "CERTIFICATE", ca.Certificate.Raw)
	return ca
}

// Open is the authority whose certificate and key are in dir as NAME.crt and NAME.key.
func Open(t testing.TB, dir, name string) *CA {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return &CA{t: t, dir: dir, Certificate: pair.Leaf, key: pair.PrivateKey.(*ecdsa.PrivateKey)}
}

// Issue makes a certificate for servers at the addresses and for clients; it and
// its key are in the directory of the authority as NAME.crt and NAME.key.
func (ca *CA) Issue(name string, addresses ...string) tls.Certificate {
	ca.t.Helper()
	return ca.IssueWith(name, func(template *x509.Certificate) {
		for _, address := range addresses {
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
		}
	})
}

// IssueURI is [CA.Issue] for a client that a URI names, until a time.
func (ca *CA) IssueURI(name, uri string, until time.Time) tls.Certificate {
	ca.t.Helper()
	parsed, err := url.Parse(uri)
	if err != nil {
		ca.t.Fatal(err)
	}
	return ca.IssueWith(name, func(template *x509.Certificate) {
		template.URIs, template.NotAfter = []*url.URL{parsed}, until
	})
}

// IssueWith is [CA.Issue] of what a change makes of the template.
func (ca *CA) IssueWith(name string, change func(template *x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	template := template(ca.t, name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	change(template)
	certificate, key := sign(ca.t, template, ca.Certificate, ca.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		ca.t.Fatal(err)
	}
	write(ca.t, filepath.Join(ca.dir, name+".crt"), "CERTIFICATE", certificate.Raw)
	write(ca.t, filepath.Join(ca.dir, name+".key"), "PRIVATE KEY", der)
	return tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key, Leaf: certificate}
}

func template(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
}

// sign signs with the parent's key; without one the certificate signs itself.
func sign(t testing.TB, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parentKey == nil {
		parentKey = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func write(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
