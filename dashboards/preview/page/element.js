import { createTheme } from '@grafana/data';

export const theme = createTheme({ colors: { mode: 'dark' } });

/** element with a class and a text or children. */
export function element(name, className, content = []) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...[content].flat());
  return made;
}
