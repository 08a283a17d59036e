package engine

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/google/renameio/v2"
)

// Users of the embedded engine.
const (
	Owner  = "netview_owner"  // makes and alters the schema
	Writer = "netview_writer" // inserts, and reads what it must
	Reader = "netview_reader" // only reads
)

var users = []string{Owner, Writer, Reader}

// Credentials is the folder below a data directory with what only the user of the
// engine may read: a password of each user, its DSN, and the reader's name and
// password for curl.
func Credentials(dataDir string) string { return filepath.Join(dataDir, "credentials") }

// DSNFile is the file in [Credentials] with the DSN of a user.
func DSNFile(dataDir, user string) string {
	return filepath.Join(Credentials(dataDir), strings.TrimPrefix(user, "netview_")+".dsn")
}

// CurlFile is the one that makes curl the reader: curl --config FILE URL.
func CurlFile(dataDir string) string { return filepath.Join(Credentials(dataDir), "reader.curl") }

// DSN of a user for the native port, without a database.
func (o *Options) dsn(user, password string) string {
	return "clickhouse://" + user + ":" + password + "@" + o.TCPAddress
}

// password returns the user's password, made at the first call for this data
// directory and kept in a file that only its owner can read.
func password(dataDir, user string) (string, error) {
	file := filepath.Join(Credentials(dataDir), user+".password")
	text, err := os.ReadFile(file)
	if err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the password of %s: %w", user, err)
	}
	secret := rand.Text()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", fmt.Errorf("keeping the password of %s: %w", user, err)
	}
	if err := renameio.WriteFile(file, []byte(secret+"\n"), 0o600, renameio.WithTempDir(filepath.Dir(file))); err != nil {
		return "", fmt.Errorf("keeping the password of %s: %w", user, err)
	}
	return secret, nil
}

// Files of the engine's configuration below the data directory.
const (
	configFile = "config.xml"
	usersFile  = "users.xml"
)

// The user `default` must stay without a password from loopback for the
// listeners to start, so it can do that and nothing else. The grant for that is
// also the one to stop them, which any local user could: hence the quota start,
// of the two statements that [Server.launch] gives. A quota does not count what
// reads no table, such as SELECT file('/path'): hence the profile start, under
// which no SELECT can be parsed, for its expressions nest deeper. Nobody has a grant for
// the table functions file(), url() or any other source; what grants cannot
// refuse, [child.confine] does.
var configTemplate = template.Must(template.New("config").Parse(`<clickhouse>
    <listen_host>{{.Host}}</listen_host>
    <tcp_port>{{.TCPPort}}</tcp_port>
    <http_port>{{.HTTPPort}}</http_port>
    <keep_alive_timeout>1</keep_alive_timeout>
    <users_config>{{html .UsersFile}}</users_config>
</clickhouse>
`))

var usersTemplate = template.Must(template.New("users").Parse(`<clickhouse>
    <profiles>
        <default/>
        <start>
            <max_parser_depth>8</max_parser_depth>
            <constraints><max_parser_depth><readonly/></max_parser_depth></constraints>
        </start>
        <reader>
            <readonly>1</readonly>
            <max_execution_time>60</max_execution_time>
            <constraints><max_execution_time><changeable_in_readonly/></max_execution_time></constraints>
        </reader>
    </profiles>
    <quotas>
        <default/>
        <start><interval><duration>2147483647</duration><queries>2</queries></interval></start>
    </quotas>
    <users>
        <default>
            <password/><networks><ip>127.0.0.1</ip><ip>::1</ip></networks><profile>start</profile><quota>start</quota>
            <grants>
                <query>GRANT SYSTEM LISTEN ON *.*</query>
                <query>GRANT CREATE TEMPORARY TABLE ON *.*</query>
            </grants>
        </default>
        <netview_owner>
            <password_sha256_hex>{{.netview_owner}}</password_sha256_hex><networks><ip>127.0.0.1</ip><ip>::1</ip></networks><profile>default</profile><quota>default</quota>
            <grants>
                <query>GRANT SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP, TRUNCATE, OPTIMIZE, SHOW ON netview.*</query>
                <query>GRANT TABLE ENGINE ON ReplacingMergeTree</query>
                <query>GRANT TABLE ENGINE ON MergeTree</query>
                <query>GRANT SELECT ON system.tables</query>
                <query>GRANT SELECT ON system.databases</query>
                <query>GRANT SELECT ON system.columns</query>
                <query>GRANT SELECT ON system.parts</query>
            </grants>
        </netview_owner>
        <netview_writer>
            <password_sha256_hex>{{.netview_writer}}</password_sha256_hex><networks><ip>127.0.0.1</ip><ip>::1</ip></networks><profile>default</profile><quota>default</quota>
            <grants><query>GRANT SELECT, INSERT ON netview.*</query></grants>
        </netview_writer>
        <netview_reader>
            <password_sha256_hex>{{.netview_reader}}</password_sha256_hex><networks><ip>127.0.0.1</ip><ip>::1</ip></networks><profile>reader</profile><quota>default</quota>
            <grants><query>GRANT SELECT ON netview.*</query></grants>
        </netview_reader>
    </users>
</clickhouse>
`))

// hash is a password in the form in which the engine may know it: the engine's
// own files can be read through it.
func hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// writeConfig writes the engine's configuration below the data directory and
// returns the path of its main file.
func writeConfig(o *Options, passwords map[string]string) (string, error) {
	host, tcpPort, err := net.SplitHostPort(o.TCPAddress)
	if err != nil {
		return "", fmt.Errorf("native address %q: %w", o.TCPAddress, err)
	}
	_, httpPort, err := net.SplitHostPort(o.HTTPAddress)
	if err != nil {
		return "", fmt.Errorf("HTTP address %q: %w", o.HTTPAddress, err)
	}
	config := filepath.Join(o.DataDir, configFile)
	usersPath := filepath.Join(o.DataDir, usersFile)
	for file, content := range map[string]func(*os.File) error{
		config: func(f *os.File) error {
			return configTemplate.Execute(f, map[string]string{"Host": host, "TCPPort": tcpPort, "HTTPPort": httpPort, "UsersFile": usersPath})
		},
		usersPath: func(f *os.File) error {
			hashes := map[string]string{}
			for user, password := range passwords {
				hashes[user] = hash(password)
			}
			return usersTemplate.Execute(f, hashes)
		},
	} {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return "", fmt.Errorf("writing the engine's configuration: %w", err)
		}
		if err := errors.Join(content(f), f.Close()); err != nil {
			return "", fmt.Errorf("writing the engine's configuration %s: %w", file, err)
		}
	}
	return config, nil
}
