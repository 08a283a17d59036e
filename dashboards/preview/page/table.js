// Tables, with Grafana's widths: a column has its own or an equal share of the rest.
import { FieldType, formattedValueToString, getFieldConfigWithMinMax, getFieldDisplayName } from '@grafana/data';
import { element, theme } from './element.js';

const rowHeights = { sm: 36, md: 42, lg: 48 };
const leastWidth = 150;

export function drawTable(body, panel, frames) {
  const frame = frames[panel.options.frameIndex || 0];
  const fields = frame.fields.filter((f) => !f.config.custom?.hidden && !f.config.custom?.hideFrom?.viz);
  const fixed = fields.reduce((sum, f) => sum + (f.config.custom?.width || 0), 0);
  const free = fields.filter((f) => !f.config.custom?.width).length;
  const share = Math.max(leastWidth, (body.clientWidth - fixed) / Math.max(1, free));
  const widths = fields.map((f) => f.config.custom?.width || share);
  const height = rowHeights[panel.options.cellHeight] || rowHeights.sm;
  const rows = Math.min(frame.length, Math.ceil(body.clientHeight / height));

  const columns = fields.map((field, i) => {
    const right = alignedRight(field);
    const cells = [element('div', 'cell head', getFieldDisplayName(field, frame, frames))];
    for (let n = 0; n < rows; n++) {
      cells.push(drawCell(field, n));
    }
    const column = element('div', 'column' + (right ? ' right' : ''), cells);
    column.style.width = widths[i] + 'px';
    return column;
  });
  body.append(element('div', 'table', columns));
  body.style.setProperty('--row', height + 'px');
  const total = widths.reduce((a, b) => a + b, 0);
  if (total > body.clientWidth + 1) {
    body.append(element('div', 'more', `${Math.round(total - body.clientWidth)} px more →`));
  }
}

function alignedRight(field) {
  const align = field.config.custom?.align || 'auto';
  return align === 'right' || (align === 'auto' && field.type === FieldType.number && !field.config.mappings?.length);
}

function drawCell(field, n) {
  const value = field.values[n];
  const shown = field.display(value);
  const text = value === null && !field.config.noValue ? '' : formattedValueToString(shown);
  const options = field.config.custom?.cellOptions || { type: 'auto' };
  const cell = element('div', 'cell');
  const inner = element('span', field.config.links?.length ? 'linked' : '', text);
  switch (options.type) {
    case 'color-text':
      inner.style.color = shown.color;
      break;
    case 'color-background':
      cell.style.background = shown.color;
      break;
    case 'gauge': {
      const { min, max } = getFieldConfigWithMinMax(field, false);
      const fill = element('div', 'fill');
      Object.assign(fill.style, { width: Math.max(0, Math.min(1, (shown.numeric - min) / (max - min || 1))) * 100 + '%', background: shown.color });
      const valueText = element('span', 'value', text);
      if (options.valueDisplayMode !== 'text') {
        valueText.style.color = shown.color;
      }
      cell.classList.add('gauge');
      cell.append(element('div', 'track', fill), valueText);
      return cell;
    }
  }
  if (!inner.style.color && field.config.links?.length) {
    inner.style.color = theme.colors.text.link;
  }
  cell.append(inner);
  return cell;
}
