// Panels of single numbers.
import { formattedValueToString, getFieldDisplayValues } from '@grafana/data';
import { element, theme } from './element.js';

/** numbers that a panel reduces its fields to. */
function numbersOf(panel, frames) {
  return getFieldDisplayValues({ fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: (text) => text, theme, data: frames, timeZone: 'utc' }).map((n) => n.display);
}

/** fitting is the size of a text in a box, in pixels. */
function fitting(text, width, height, most) {
  return Math.max(10, Math.min(most, height, width / (0.6 * Math.max(text.length, 1))));
}

export function drawStat(body, panel, frames) {
  const numbers = numbersOf(panel, frames);
  const width = body.clientWidth / numbers.length - 16;
  const named = panel.options.textMode !== 'value' && (numbers.length > 1 || panel.options.textMode === 'value_and_name');
  const texts = numbers.map((n) => formattedValueToString(n));
  const longest = texts.reduce((a, b) => (a.length > b.length ? a : b), '');
  const size = fitting(longest, width, body.clientHeight * (named ? 0.5 : 0.7), 56);
  for (const [i, n] of numbers.entries()) {
    const value = element('div', 'value', texts[i]);
    value.style.fontSize = size + 'px';
    const box = element('div', 'number', [...(named ? [element('div', 'name', n.title || '')] : []), value]);
    if (panel.options.colorMode === 'background') {
      box.style.background = n.color;
    } else if (panel.options.colorMode === 'value') {
      value.style.color = n.color;
    }
    body.append(box);
  }
  body.classList.add('numbers');
}

export function drawBars(body, panel, frames) {
  const numbers = numbersOf(panel, frames);
  const least = panel.fieldConfig.defaults.min ?? 0;
  const most = panel.fieldConfig.defaults.max ?? Math.max(...numbers.map((n) => n.numeric), least + 1e-9);
  const height = Math.max(panel.options.minVizHeight || 16, Math.min(panel.options.maxVizHeight || 300, body.clientHeight / numbers.length - 8));
  for (const n of numbers) {
    const share = Math.max(0, Math.min(1, (n.numeric - least) / (most - least)));
    const fill = element('div', 'fill');
    Object.assign(fill.style, { width: share * 100 + '%', background: `linear-gradient(90deg, color-mix(in srgb, ${n.color} 25%, transparent), ${n.color})`, borderRight: `2px solid ${n.color}` });
    const value = element('span', 'value', formattedValueToString(n));
    value.style.color = n.color;
    const bar = element('div', 'bar', [element('span', 'name', n.title || ''), element('div', 'track', fill), value]);
    bar.style.height = height + 'px';
    body.append(bar);
  }
}
