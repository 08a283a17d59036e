// Package query asks ClickHouse through the views of the schema and prints the
// answer: `netview query`.
package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"time"

	chgo "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/netview-project/netview/cmd/netview/dsn"
	"github.com/netview-project/netview/cmd/netview/quickstart"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// Options of a query.
type Options struct {
	// View to ask; empty lists the views.
	View string
	// Arguments of the view.
	Arguments Arguments
	// Columns to print; none prints those that suit the form.
	Columns []string
	// Format is one of [Formats].
	Format string
	// DSN of the flag; empty takes that of the environment, or that of the `netview
	// run` whose state directory is State.
	DSN, State string
	Database   string
	// Timeout of the whole query.
	Timeout time.Duration
}

// allColumns stands for every column of a view.
const allColumns = "all"

// Run asks and prints. Nothing is printed on an error but what came before it.
func Run(ctx context.Context, o Options, out io.Writer) error {
	if o.View == "" {
		return list(out)
	}
	view, err := find(o.View)
	if err != nil {
		return err
	}
	call, parameters, err := o.Arguments.call(view)
	if err != nil {
		return err
	}
	if err := clickhouse.CheckDatabase(o.Database); err != nil {
		return err
	}
	conn, err := o.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("there is no answer within --timeout %v", o.Timeout))
	defer cancel()
	sql := fmt.Sprintf("SELECT * FROM %s.%s(%s)", o.Database, view.Name, call)
	rows, err := conn.Query(ctx, sql, parameters...)
	if err != nil {
		return explain(ctx, view.Name, err)
	}
	defer rows.Close()
	shown, err := o.columns(view.Name, rows.Columns())
	if err != nil {
		return err
	}
	broken := func(err error) error { return explain(ctx, view.Name, err) }
	return write(out, o.Format, &answer{rows: rows, shown: shown, broken: broken})
}

func find(name string) (clickhouse.View, error) {
	views := clickhouse.Views()
	i := slices.IndexFunc(views, func(v clickhouse.View) bool { return v.Name == name })
	if i < 0 {
		return clickhouse.View{}, fmt.Errorf("there is no view %q: there are %s", name, strings.Join(Names(), ", "))
	}
	return views[i], nil
}

// Names of the views.
func Names() (names []string) {
	for _, v := range clickhouse.Views() {
		names = append(names, v.Name)
	}
	return names
}

func (o *Options) connect() (driver.Conn, error) {
	address := o.DSN
	if address != "" {
		if err := dsn.CheckFlag("--clickhouse-dsn", address, dsn.Reader); err != nil {
			return nil, err
		}
	}
	for _, variable := range []string{dsn.Reader, dsn.Writer} {
		if address == "" {
			var err error
			if address, err = dsn.FromEnvironment(variable); err != nil {
				return nil, err
			}
		}
	}
	if address == "" {
		var err error
		if address, err = dsn.FromFile(engine.DSNFile(quickstart.ClickHouseData(o.State), engine.Reader)); err != nil {
			return nil, noState(err)
		}
	}
	return clickhouse.Open(address)
}

// noState says how ClickHouse is reached where the file of `netview run` cannot be had.
func noState(err error) error {
	remedy := "start `make run`, give the directory of another one with --state"
	if errors.Is(err, fs.ErrPermission) {
		remedy = "ask as the user who runs `netview run`"
	}
	return fmt.Errorf("the password for the ClickHouse of `netview run`: %w (%s, or name another server in %s)", err, remedy, dsn.Reader)
}

// explain says what an error of ClickHouse means to the one who asked.
func explain(ctx context.Context, view string, err error) error {
	var exception *chgo.Exception
	switch {
	case errors.As(err, &exception):
		return fmt.Errorf("ClickHouse refuses the query of %s: %s", view, exception.Message)
	case ctx.Err() != nil:
		return fmt.Errorf("asking ClickHouse for %s: %w", view, context.Cause(ctx))
	}
	return fmt.Errorf("asking ClickHouse for %s: %w (does `make run` run? %s names another server)", view, err, dsn.Reader)
}

// columns returns the indexes of those that are printed.
func (o *Options) columns(view string, have []string) ([]int, error) {
	names := o.Columns
	if len(names) == 0 && o.Format == formatTable {
		names = narrow[view]
	}
	if len(names) == 0 || slices.Equal(names, []string{allColumns}) {
		names = have
	}
	var shown []int
	for _, name := range names {
		i := slices.Index(have, name)
		if i < 0 {
			return nil, fmt.Errorf("%s has no column %q: it has %s", view, name, strings.Join(have, ", "))
		}
		shown = append(shown, i)
	}
	return shown, nil
}

// answer is what ClickHouse sends, row by row.
type answer struct {
	rows   driver.Rows
	broken func(error) error // explains an error of rows
	shown  []int
	into   []any
}

func (a *answer) names() []string {
	all := a.rows.Columns()
	names := make([]string, len(a.shown))
	for i, column := range a.shown {
		names[i] = all[column]
	}
	return names
}

// each calls f with the values of every row, nil for NULL.
func (a *answer) each(f func(values []any) error) error {
	for _, column := range a.rows.ColumnTypes() {
		a.into = append(a.into, reflect.New(column.ScanType()).Interface())
	}
	values := make([]any, len(a.shown))
	for a.rows.Next() {
		if err := a.rows.Scan(a.into...); err != nil {
			return a.broken(err)
		}
		for i, column := range a.shown {
			values[i] = dereference(a.into[column])
		}
		if err := f(values); err != nil {
			return err
		}
	}
	if err := a.rows.Err(); err != nil {
		return a.broken(err)
	}
	return nil
}

// dereference follows the pointers that stand for a column and for Nullable.
func dereference(pointer any) any {
	value := reflect.ValueOf(pointer)
	for value.Kind() == reflect.Pointer {
		if value.IsNil() {
			return nil
		}
		value = value.Elem()
	}
	return value.Interface()
}
