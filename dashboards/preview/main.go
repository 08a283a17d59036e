// Command preview makes a picture of each dashboard. It is a development tool, and
// its pictures are previews, not Grafana: they have the dashboard's own JSON, the
// answers of real servers to its real queries, and Grafana's own code for units,
// mappings, thresholds and colours (@grafana/data), but what stands around them, the
// tables and the graphs are drawn by the page in this folder.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

func main() {
	app := kingpin.New("preview", "Make a picture of each dashboard: a preview, not Grafana.")
	o := options{variables: map[string]string{}}
	app.Arg("dashboard", "JSON file of a dashboard.").Required().ExistingFilesVar(&o.dashboards)
	app.Flag("out", "Directory of the pictures.").Default("docs/pictures").StringVar(&o.out)
	app.Flag("page", "Directory of the page, with the bundle of page.js.").Default("var/preview").StringVar(&o.page)
	app.Flag("clickhouse", "ClickHouse, HTTP protocol, as a user who reads.").Default("http://netview_reader@127.0.0.1:18123").StringVar(&o.sources.clickhouse)
	app.Flag("clickhouse-password-file", "File with that user's password, where the URL has none.").Default("var/clickhouse/credentials/netview_reader.password").StringVar(&o.passwordFile)
	app.Flag("prometheus", "Prometheus; without it its panels say so.").StringVar(&o.sources.prometheus)
	app.Flag("chromium", "Chromium.").Default("chromium").StringVar(&o.chromium)
	app.Flag("width", "Width of a picture in pixels.").Default("1600").IntVar(&o.width)
	app.Flag("range", "Time range, which ends now.").Default("1h").DurationVar(&o.length)
	app.Flag("var", "Value of a variable, as sensor=web-1, or sensor=~^web- for those that its query finds; again for other variables.").StringMapVar(&o.variables)
	kingpin.MustParse(app.Parse(os.Args[1:]))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "preview:", err)
		os.Exit(1)
	}
}

type options struct {
	dashboards          []string
	out, page, chromium string
	width               int
	length              time.Duration
	variables           map[string]string
	passwordFile        string
	sources             sources
}

// authenticate puts the password of the file into the URL of ClickHouse.
func (o *options) authenticate() error {
	u, err := url.Parse(o.sources.clickhouse)
	if err != nil {
		return err
	}
	if _, given := u.User.Password(); u.User == nil || given {
		return nil
	}
	password, err := os.ReadFile(o.passwordFile)
	if err != nil {
		return fmt.Errorf("the password of %s: %w (does `make demo` run? --clickhouse-password-file names another)", u.User.Username(), err)
	}
	u.User = url.UserPassword(u.User.Username(), strings.TrimSpace(string(password)))
	o.sources.clickhouse = u.String()
	return nil
}

func (o *options) run(ctx context.Context) error {
	if err := o.authenticate(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	to := time.Now().UTC().Truncate(time.Second)
	for _, file := range o.dashboards {
		d, err := read(file)
		if err != nil {
			return err
		}
		view, err := d.view(ctx, &o.sources, o.variables, to.Add(-o.length), to)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		answers, failed := d.ask(ctx, &o.sources, view, o.width)
		data, err := json.Marshal(map[string]any{"dashboard": d.raw, "answers": answers, "from": view.From.UnixMilli(), "to": to.UnixMilli(), "variables": d.shown(view), "width": o.width})
		if err != nil {
			return err
		}
		picture := filepath.Join(o.out, strings.TrimSuffix(filepath.Base(file), ".json")+".png")
		if err := o.photograph(ctx, data, d.height(), picture); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		fmt.Printf("%s: %d panels, %d queries failed\n", picture, len(d.Panels), failed)
	}
	return nil
}
