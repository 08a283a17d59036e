package dashboards

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// schemaTypes are what TypeScript has to find: Plain takes the texts of an enum for
// the enum, since JSON knows no others. The types of panels' own options are apart
// from that of a dashboard, which takes any.
const schemaTypes = `import { AnnotationQuery, Dashboard, DataQuery, FieldConfig } from '@grafana/schema';
import * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
type Plain<T> = T extends string ? ` + "`${T}`" + ` : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Annotation = Plain<AnnotationQuery<DataQuery & Record<string, unknown>>> & { titleFormat?: string; textFormat?: string; tagKeys?: string }; // of Prometheus
type Board = Omit<Plain<Dashboard>, 'annotations'> & { annotations: { list: Annotation[] } };
type Look = Partial<Plain<Omit<FieldConfig, 'custom'>>> & { fieldMinMax?: boolean }; // only the newer forms of dashboards have its type
`

// typescript is a program in which everything that the dashboards set has its type.
func typescript(t *testing.T) string {
	var text strings.Builder
	text.WriteString(schemaTypes)
	n := 0
	declare := func(kind string, value any) {
		literal, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		n++
		fmt.Fprintf(&text, "export const v%d: %s = %s;\n", n, kind, literal)
	}
	for _, d := range All() {
		declare("Board", d)
		for _, p := range d.Panels {
			if p.Type == "row" {
				continue
			}
			declare("Plain<"+p.Type+".Options>", p.Options)
			custom := map[string]string{"table": "Plain<table.FieldConfig>", "timeseries": "Plain<timeseries.FieldConfig>"}[p.Type]
			if custom != "" {
				declare("Partial<"+custom+">", p.FieldConfig.Defaults.Custom)
			}
			for _, o := range p.FieldConfig.Overrides {
				look, own := map[string]any{}, map[string]any{}
				for _, property := range o.Properties {
					if name, is := strings.CutPrefix(property.ID, "custom."); is {
						own[name] = property.Value
					} else {
						look[property.ID] = property.Value
					}
				}
				declare("Look", look)
				if len(own) > 0 {
					declare("Partial<"+custom+">", own)
				}
			}
		}
	}
	return text.String()
}

// TestTypeScript holds the dashboards against the types of @grafana/schema, which
// know each key that Grafana does.
func TestTypeScript(t *testing.T) {
	folder := os.Getenv("NETVIEW_GRAFANA_SCHEMA")
	if folder == "" {
		folder = "../var/npm-grafana"
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join(folder, "node_modules")
	for _, needed := range []string{"@grafana/schema/package.json", "typescript/bin/tsc"} {
		if _, err := os.Stat(filepath.Join(modules, needed)); err != nil {
			t.Skipf("no types of Grafana: %v (`make grafana-schema` installs them)", err)
		}
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip(err)
	}
	check := func(program string) (string, error) {
		dir := t.TempDir()
		// What is imported is looked for beside the program.
		if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "dashboards.ts")
		if err := os.WriteFile(file, []byte(program), 0o644); err != nil {
			t.Fatal(err)
		}
		command := exec.Command("node", filepath.Join(modules, "typescript/bin/tsc"), "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "preserve", "--moduleResolution", "bundler", file)
		command.Dir = dir
		out, err := command.CombinedOutput()
		return string(out), err
	}
	program := typescript(t)
	if out, err := check(program); err != nil {
		t.Errorf("%v\n%.8000s", err, out)
	}
	// The check sees what it is for.
	for _, wrong := range [][2]string{{`"schemaVersion":39`, `"schemaVersion":"39"`}, {`"graphMode":"none"`, `"graphMode":"nothing"`}, {`"lineWidth":1`, `"lineWidht":1`}, {`"keepTime":true`, `"keepTimes":true`}} {
		if out, err := check(strings.ReplaceAll(program, wrong[0], wrong[1])); err == nil {
			t.Errorf("%s passes for %s: %s", wrong[1], wrong[0], out)
		}
	}
}
