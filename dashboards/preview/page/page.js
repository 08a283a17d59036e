// Draws a dashboard from its JSON and the answers to its queries: `data` is what
// dashboards/preview puts before this script. What values look like (units, mappings,
// thresholds, colours, names) is Grafana's own code; layout, tables and graphs are
// drawn here as the JSON says.
import 'uplot/dist/uPlot.min.css';
import './page.css';
import { element, theme } from './element.js';
import { displayed } from './fields.js';
import { drawBars, drawStat } from './numbers.js';
import { drawGraph } from './graph.js';
import { drawTable } from './table.js';

const drawn = { stat: drawStat, bargauge: drawBars, timeseries: drawGraph, table: drawTable };

const margin = 8;
const row = 30 + margin; // of the grid, in pixels
const column = (data.width - margin) / 24;

function utc(milliseconds) {
  return new Date(milliseconds).toISOString().slice(0, 16).replace('T', ' ');
}

function heading() {
  const fields = data.variables.map(([label, text]) => element('span', 'variable', [element('b', '', label), element('span', '', text || ' ')]));
  return element('header', '', [
    element('div', 'title', [
      element('h1', '', data.dashboard.title),
      element('span', 'time', `${utc(data.from)} to ${utc(data.to)} UTC`),
      element('span', 'preview', 'a preview, not Grafana'),
    ]),
    element('div', 'variables', [...fields, ...(data.dashboard.links || []).map((l) => element('span', 'link', l.title + ' ▾'))]),
  ]);
}

function place(box, { x, y, w, h }) {
  Object.assign(box.style, { left: margin + x * column + 'px', top: y * row + 'px', width: w * column - margin + 'px', height: h * row - margin + 'px' });
  return box;
}

function drawPanel(panel) {
  const answer = data.answers[panel.id];
  if (panel.type === 'row') {
    return place(element('section', 'row', '⌄ ' + answer.title), panel.gridPos);
  }
  const body = element('div', 'body');
  const title = [element('span', '', answer.title)];
  if (panel.description) {
    title.push(element('i', 'about', 'i'));
  }
  const box = place(element('section', 'panel', [element('h2', '', title), body]), panel.gridPos);
  document.querySelector('main').append(box);
  const frames = displayed(panel, answer.frames || []);
  const draw = drawn[panel.type];
  if (answer.error) {
    body.append(element('p', 'error', answer.error));
  } else if (!draw) {
    body.append(element('p', 'error', `the preview knows no panels of the type ${panel.type}`));
  } else if (!frames.some((frame) => frame.length > 0)) {
    body.append(element('p', 'nothing', panel.fieldConfig.defaults.noValue || 'No data'));
  } else {
    draw(body, panel, frames);
  }
  return box;
}

document.documentElement.style.background = theme.colors.background.canvas;
document.body.append(heading(), element('main', ''));
for (const panel of data.dashboard.panels) {
  document.querySelector('main').append(drawPanel(panel));
}
