// plot.js: a line plot of a few hundred points, as SVG.
import {h} from './dom.js';

const WIDTH = 300;
const HEIGHT = 100;

function svg(tag, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// plot('Queue', (value) => text). Its set(points) takes [{at, value}], of which a
// value may be null: nothing is drawn there.
export function plot(title, show) {
  const area = svg('path', {class: 'area'});
  const line = svg('path', {class: 'line'});
  const image = svg('svg', {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img'});
  image.append(svg('line', {class: 'axis', x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT}), area, line);
  const now = h('strong', {}, '–');
  const from = h('span');
  const most = h('span');
  const element = h('figure', {class: 'plot'}, h('figcaption', {}, h('span', {}, title), now), image, h('div', {class: 'scale'}, from, most));

  function set(points) {
    const known = points.filter((point) => point.value !== null);
    const highest = Math.max(0, ...known.map((point) => point.value));
    const top = highest || 1;
    const start = points[0]?.at ?? 0;
    const span = Math.max(1, (points.at(-1)?.at ?? 1) - start);
    const segments = [];
    let segment = null;
    for (const {at, value} of points) {
      if (value === null) {
        segment = null;
        continue;
      }
      if (!segment) segments.push(segment = []);
      segment.push([(((at - start) / span) * WIDTH).toFixed(1), (HEIGHT - (value / top) * (HEIGHT - 4)).toFixed(1)]);
    }
    const path = (places) => `M${places.map((place) => place.join(' ')).join('L')}`;
    line.setAttribute('d', segments.map(path).join(''));
    area.setAttribute('d', segments.map((places) => `${path(places)}L${places.at(-1)[0]} ${HEIGHT}L${places[0][0]} ${HEIGHT}Z`).join(''));
    const last = known.at(-1);
    now.textContent = last ? show(last.value) : '–';
    from.textContent = points.length > 1 ? `${Math.round(span / 1000)} s` : '';
    most.textContent = known.length ? `at most ${show(highest)}` : '';
    image.setAttribute('aria-label', last ? `${title}: now ${show(last.value)}, at most ${show(highest)}` : title);
  }

  return {element, set};
}
