// Time series, with uPlot, which Grafana uses too.
import { FieldType, formattedValueToString, getFieldDisplayName, getFieldSeriesColor, outerJoinDataFrames, reduceField } from '@grafana/data';
import uPlot from 'uplot';
import { element, theme } from './element.js';

export function drawGraph(body, panel, frames) {
  for (const [i, field] of frames.flatMap((f) => f.fields.filter((f) => f.type === FieldType.number)).entries()) {
    field.state = { ...field.state, seriesIndex: i };
  }
  const names = new Map(frames.flatMap((frame) => frame.fields.map((field) => [field, getFieldDisplayName(field, frame, frames)])));
  const joined = frames.length > 1 ? outerJoinDataFrames({ frames, keepDisplayNames: true }) : frames[0];
  const time = joined.fields.find((f) => f.type === FieldType.time);
  const numbers = joined.fields.filter((f) => f.type === FieldType.number && !f.config.custom?.hideFrom?.viz);
  if (!time || !numbers.length) {
    body.append(element('p', 'error', 'no time or no numbers in the answer'));
    return;
  }
  const series = numbers.map((field) => ({
    field,
    name: names.get(field) ?? field.state?.displayName ?? getFieldDisplayName(field, joined, [joined]),
    color: getFieldSeriesColor(field, theme).color,
    custom: field.config.custom || {},
    values: spanned(time.values, field.values, field.config.custom?.spanNulls),
  }));
  const legend = panel.options.legend;
  body.classList.add('graph', legend.placement);
  const canvas = element('div', 'canvas');
  body.append(canvas);
  if (legend.showLegend) {
    body.append(drawLegend(series, legend));
  }
  plot(canvas, panel, time, series);
}

/** spanned gaps are undefined, which uPlot draws over; the others are null. */
function spanned(times, values, spanNulls) {
  const out = Array.from(values, (v) => v ?? null);
  let last = -1;
  for (let i = 0; i < out.length; i++) {
    if (out[i] === null) {
      continue;
    }
    if (last >= 0 && i > last + 1 && (spanNulls === true || (typeof spanNulls === 'number' && times[i] - times[last] <= spanNulls))) {
      out.fill(undefined, last + 1, i);
    }
    last = i;
  }
  return out;
}

function drawLegend(series, legend) {
  const line = (name, cells, first) => element('tr', name, [element('td', 'name', first), ...cells.map((c) => element('td', 'calc', c))]);
  const entries = series.map(({ field, name, color }) => {
    const mark = element('i', '');
    mark.style.background = color;
    const calcs = reduceField({ field, reducers: legend.calcs });
    return { first: [mark, name], values: legend.calcs.map((c) => formattedValueToString(field.display(calcs[c]))) };
  });
  if (legend.displayMode === 'list') {
    const text = ({ first, values }) => [...first, ...values.map((v, i) => element('span', 'calc', ` ${label(legend.calcs[i])}: ${v}`))];
    return element('div', 'legends list', entries.map((e) => element('span', 'entry', text(e))));
  }
  return element('div', 'legends', element('table', '', [line('head', legend.calcs.map(label), 'Name'), ...entries.map((e) => line('', e.values, e.first))]));
}

const labels = { lastNotNull: 'Last *', max: 'Max', mean: 'Mean', min: 'Min', sum: 'Total' };
const label = (calc) => labels[calc] || calc;

function plot(canvas, panel, time, series) {
  const stacked = series.some((s) => s.custom.stacking?.mode === 'normal');
  const drawn = stacked ? stack(series) : series.map((s) => s.values);
  const format = (v) => formattedValueToString(series[0].field.display(v));
  const axis = { stroke: theme.colors.text.secondary, font: '12px Inter, sans-serif', grid: { stroke: theme.colors.border.weak, width: 1 }, ticks: { show: false } };
  const highest = Math.max(0, ...drawn.flat().filter((v) => v != null));
  const softMin = series[0].custom.axisSoftMin;
  const softMax = series[0].custom.axisSoftMax ?? 0;
  const { min, max } = panel.fieldConfig.defaults;
  new uPlot(
    {
      width: canvas.clientWidth,
      height: canvas.clientHeight,
      legend: { show: false },
      cursor: { show: false },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
      scales: { x: { range: [data.from / 1000, data.to / 1000] }, y: { range: (u, low, high) => uPlot.rangeNum(min ?? Math.min(low ?? 0, softMin ?? low ?? 0), max ?? Math.max(high ?? 0, softMax, highest || softMax || 1), { min: { pad: 0, soft: softMin ?? 0, mode: 1 }, max: { pad: 0.1 } }) } },
      axes: [{ ...axis, size: 26, values: (u, splits) => splits.map((s) => new Date(s * 1000).toISOString().slice(11, 16)) }, { ...axis, size: 64, incrs: panel.fieldConfig.defaults.unit === 'bytes' ? powersOfTwo : undefined, values: (u, splits) => splits.map(format) }],
      bands: stacked ? series.slice(1).map((s, i) => ({ series: [i + 2, i + 1] })) : [],
      series: [{}, ...series.map((s) => ({ stroke: s.color, width: s.custom.lineWidth ?? 1, fill: fillOf(s), points: { show: s.custom.showPoints === 'always' }, paths: s.custom.drawStyle === 'bars' ? uPlot.paths.bars({ size: [0.8, 100] }) : undefined }))],
      hooks: { draw: [drawMarks, (u) => drawThresholds(u, series[0].field)] },
    },
    [time.values.map((t) => t / 1000), ...drawn],
    canvas
  );
}

// powersOfTwo are steps of an axis of bytes.
const powersOfTwo = Array.from({ length: 50 }, (_, i) => 2 ** i);

function fillOf({ color, custom }) {
  if (!custom.fillOpacity) {
    return undefined;
  }
  return color.startsWith('#') ? color.slice(0, 7) + Math.round(custom.fillOpacity * 2.55).toString(16).padStart(2, '0') : color;
}

/** stack adds each series to those before it; where others have a value, nothing is 0. */
function stack(series) {
  const there = series[0].values.map((_, i) => series.some((s) => s.values[i] != null));
  const sums = there.map(() => 0);
  return series.map(({ values }) => values.map((v, i) => (there[i] ? (sums[i] += v ?? 0) : v)));
}

/** drawThresholds as lines, but the first, which is below everything. */
function drawThresholds(u, { config }) {
  if (!['dashed', 'line'].includes(config.custom?.thresholdsStyle?.mode)) {
    return;
  }
  const { left, width } = u.bbox;
  u.ctx.setLineDash([10, 10]);
  for (const { value, color } of config.thresholds.steps.slice(1)) {
    const y = u.valToPos(value, 'y', true);
    u.ctx.strokeStyle = theme.visualization.getColorByName(color);
    u.ctx.beginPath();
    u.ctx.moveTo(left, y);
    u.ctx.lineTo(left + width, y);
    u.ctx.stroke();
  }
  u.ctx.setLineDash([]);
}

// apart are marks that Grafana does not draw as one region.
const apart = 90_000;

/** drawMarks are the annotations. */
function drawMarks(u) {
  const { left, top, width, height } = u.bbox;
  for (const frame of data.answers[0].frames || []) {
    u.ctx.strokeStyle = theme.visualization.getColorByName(frame.name);
    u.ctx.setLineDash([3, 3]);
    const times = frame.fields.find((f) => f.type === 'time')?.values || [];
    for (const at of times.filter((t, i) => i === 0 || t - times[i - 1] > apart)) {
      const x = Math.round(u.valToPos(at / 1000, 'x', true));
      if (x >= left && x <= left + width) {
        u.ctx.beginPath();
        u.ctx.moveTo(x, top);
        u.ctx.lineTo(x, top + height);
        u.ctx.stroke();
      }
    }
  }
  u.ctx.setLineDash([]);
}
