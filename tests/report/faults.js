// What a reader would stumble over: text that is small, pale or cut off, pictures that are not there, a page that is
// wider than its window.
(() => {
  const LEAST_TEXT_PX = 12, LEAST_CONTRAST = 4.5;
  const faults = [], root = document.documentElement, wide = root.clientWidth;

  const told = (what, element) => {
    const name = (element.textContent || element.alt || "").trim().slice(0, 40);
    faults.push(`${what}: ${element.tagName} ${name}`);
  };
  const colour = text => {
    const numbers = text.match(/[\d.]+/g).map(Number);
    return numbers.length > 3 ? numbers : [...numbers, 1];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const parents = element => element ? [...parents(element.parentElement), element] : [];
  const paper = element => parents(element)
    .reduce((below, one) => over(colour(getComputedStyle(one).backgroundColor), below), [255, 255, 255, 1]);
  const scrolls = element => parents(element)
    .some(one => ["auto", "scroll"].includes(getComputedStyle(one).overflowX));

  // Contrast as WCAG 2 defines it.
  const linear = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const contrast = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const size = (element, style, svg) => {
    const matrix = svg && element.getScreenCTM();
    return parseFloat(style.fontSize) * (matrix ? Math.hypot(matrix.a, matrix.b) : 1);
  };

  if (root.scrollWidth > wide) faults.push(`the page is ${root.scrollWidth} px wide`);
  for (const image of document.images) if (!image.complete || !image.naturalWidth) told("not loaded", image);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = texts.nextNode();) {
    const element = node.parentElement, style = getComputedStyle(element), svg = element.closest("svg");
    if (!node.textContent.trim() || element.closest("style, script, .hidden") || !element.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect(), px = size(element, style, svg), below = paper(element);
    const against = contrast(over(colour(svg ? style.fill : style.color), below), below);
    if (px < LEAST_TEXT_PX - 0.01) told(`${px.toFixed(1)} px`, element);
    if (against < LEAST_CONTRAST) told(`contrast ${against.toFixed(2)}`, element);
    if (!scrolls(element) && (box.right > wide + 1 || box.left < -1)) told("outside", element);
  }
  return faults;
})()
