package dashboards

// The parts of Grafana's Classic JSON that the views use, under their own names.
// A test holds the JSON against the types of @grafana/schema.

// Dashboard is a bare dashboard, the one form that both the import by hand and
// file provisioning take from Grafana 10 to 13.
type Dashboard struct {
	UID           string      `json:"uid"`
	Title         string      `json:"title"`
	Description   string      `json:"description"`
	Tags          []string    `json:"tags"`
	SchemaVersion int         `json:"schemaVersion"`
	Editable      bool        `json:"editable"`
	GraphTooltip  int         `json:"graphTooltip"`
	Refresh       string      `json:"refresh"`
	Timezone      string      `json:"timezone"`
	Time          TimeRange   `json:"time"`
	Links         []Link      `json:"links"`
	Templating    Variables   `json:"templating"`
	Annotations   Annotations `json:"annotations"`
	Panels        []*Panel    `json:"panels"`
}

// TimeRange is what a dashboard opens with.
type TimeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Link stands above the panels and leads to other dashboards.
type Link struct {
	Title       string   `json:"title"`
	Type        string   `json:"type"`
	Icon        string   `json:"icon"`
	Tooltip     string   `json:"tooltip"`
	Tags        []string `json:"tags"`
	AsDropdown  bool     `json:"asDropdown"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
	TargetBlank bool     `json:"targetBlank"`
}

// Variables of a dashboard.
type Variables struct {
	List []*Variable `json:"list"`
}

// Variable is what somebody picks or types above the panels.
type Variable struct {
	Name        string      `json:"name"`
	Label       string      `json:"label"`
	Description string      `json:"description"`
	Type        string      `json:"type"`
	Datasource  *Datasource `json:"datasource,omitempty"`
	// Query is a text, or a target of the plugin.
	Query      any      `json:"query"`
	Refresh    int      `json:"refresh,omitempty"`
	Sort       int      `json:"sort,omitempty"`
	Multi      bool     `json:"multi,omitempty"`
	IncludeAll bool     `json:"includeAll,omitempty"`
	AllValue   string   `json:"allValue,omitempty"`
	Current    *Option  `json:"current,omitempty"`
	Options    []Option `json:"options,omitempty"`
}

// Option is a value of a variable; both are lists where it takes several.
type Option struct {
	Selected bool `json:"selected"`
	Text     any  `json:"text"`
	Value    any  `json:"value"`
}

// Annotations are marks in graphs.
type Annotations struct {
	List []Annotation `json:"list"`
}

// Annotation asks for marks.
type Annotation struct {
	Name       string     `json:"name"`
	Datasource Datasource `json:"datasource"`
	Enable     bool       `json:"enable"`
	Hide       bool       `json:"hide,omitempty"`
	IconColor  string     `json:"iconColor"`
	BuiltIn    int        `json:"builtIn,omitempty"`
	Type       string     `json:"type,omitempty"`
	Target     *Target    `json:"target,omitempty"`
	// The others are of Prometheus alone.
	TitleFormat string `json:"titleFormat,omitempty"`
	TextFormat  string `json:"textFormat,omitempty"`
	TagKeys     string `json:"tagKeys,omitempty"`
}

// Datasource is always a variable, or Grafana's own.
type Datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Panel is one picture, or the heading of a section.
type Panel struct {
	ID          int          `json:"id"`
	Type        string       `json:"type"`
	Title       string       `json:"title"`
	Description string       `json:"description,omitempty"`
	GridPos     GridPos      `json:"gridPos"`
	Datasource  *Datasource  `json:"datasource,omitempty"`
	Interval    string       `json:"interval,omitempty"`
	Targets     []*Target    `json:"targets,omitempty"`
	FieldConfig *FieldConfig `json:"fieldConfig,omitempty"`
	Options     any          `json:"options,omitempty"`
	// Of a heading.
	Collapsed *bool     `json:"collapsed,omitempty"`
	Panels    *[]*Panel `json:"panels,omitempty"`

	// links of fields, until it is known what the dashboard's variables are.
	links map[string][]lead
	// behind is how many of a table's columns need not be seen at once.
	behind int
}

// GridPos is in columns of 24 and rows of 30 pixels.
type GridPos struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}

// Target is a query, of ClickHouse or Prometheus.
type Target struct {
	RefID      string     `json:"refId"`
	Datasource Datasource `json:"datasource"`

	EditorType    string `json:"editorType,omitempty"`
	QueryType     string `json:"queryType,omitempty"`
	Format        any    `json:"format,omitempty"`
	PluginVersion string `json:"pluginVersion,omitempty"`
	RawSQL        string `json:"rawSql,omitempty"`

	EditorMode   string `json:"editorMode,omitempty"`
	Expr         string `json:"expr,omitempty"`
	LegendFormat string `json:"legendFormat,omitempty"`
	Instant      bool   `json:"instant,omitempty"`
	Range        bool   `json:"range,omitempty"`
	Interval     string `json:"interval,omitempty"`
}

// FieldConfig is how values look.
type FieldConfig struct {
	Defaults  Field      `json:"defaults"`
	Overrides []Override `json:"overrides"`
}

// Field is the look of a field.
type Field struct {
	Unit        string         `json:"unit"`
	NoValue     string         `json:"noValue,omitempty"`
	DisplayName string         `json:"displayName,omitempty"`
	Min         *float64       `json:"min,omitempty"`
	Max         *float64       `json:"max,omitempty"`
	Decimals    *int           `json:"decimals,omitempty"`
	Color       *Color         `json:"color,omitempty"`
	Thresholds  *Thresholds    `json:"thresholds,omitempty"`
	Mappings    []Mapping      `json:"mappings"`
	Links       []DataLink     `json:"links,omitempty"`
	Custom      map[string]any `json:"custom,omitempty"`
}

// Color of a field.
type Color struct {
	Mode       string `json:"mode"`
	FixedColor string `json:"fixedColor,omitempty"`
}

// Thresholds colour numbers.
type Thresholds struct {
	Mode  string `json:"mode"`
	Steps []Step `json:"steps"`
}

// Step is a colour from a value on; the first has none.
type Step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}

// Mapping gives values a text and a colour.
type Mapping struct {
	Type    string `json:"type"`
	Options any    `json:"options"`
}

// Result is what a value is shown as.
type Result struct {
	Text  string `json:"text,omitempty"`
	Color string `json:"color,omitempty"`
	Index int    `json:"index"`
}

// DataLink leads on from a value.
type DataLink struct {
	Title       string `json:"title"`
	URL         string `json:"url"`
	TargetBlank bool   `json:"targetBlank"`
}

// Override is the look of the fields that match.
type Override struct {
	Matcher    Matcher    `json:"matcher"`
	Properties []Property `json:"properties"`
}

// Matcher of a field's name.
type Matcher struct {
	ID      string `json:"id"`
	Options string `json:"options"`
}

// Property that an override sets.
type Property struct {
	ID    string `json:"id"`
	Value any    `json:"value"`
}
