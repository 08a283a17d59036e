// The look of fields by Grafana's own applyFieldOverrides.
import { applyFieldOverrides, createDataFrame, FieldConfigOptionsRegistry } from '@grafana/data';
import { theme } from './element.js';

// The options that Grafana's registries have; the panels' own are under custom.
const common = ['displayName', 'unit', 'min', 'max', 'decimals', 'noValue', 'color', 'thresholds', 'mappings', 'links', 'filterable', 'fieldMinMax'];
const custom = ['width', 'align', 'cellOptions', 'hidden', 'drawStyle', 'lineWidth', 'fillOpacity', 'stacking', 'axisSoftMin', 'axisSoftMax', 'thresholdsStyle', 'axisPlacement', 'spanNulls', 'showPoints', 'lineStyle', 'transform', 'hideFrom', 'barAlignment'];

const option = (id, isCustom) => ({ id: isCustom ? 'custom.' + id : id, path: id, name: id, isCustom, editor: () => null, override: () => null, process: (value) => value, shouldApply: () => true, settings: {} });

const registry = new FieldConfigOptionsRegistry(() => [...common.map((id) => option(id, false)), ...custom.map((id) => option(id, true))]);

/** displayed frames have a display function for each field. */
export function displayed(panel, frames) {
  return applyFieldOverrides({
    data: frames.map((frame) => createDataFrame(frame)),
    fieldConfig: panel.fieldConfig || { defaults: {}, overrides: [] },
    replaceVariables: (text) => text,
    theme,
    fieldConfigRegistry: registry,
    timeZone: 'utc',
  });
}
