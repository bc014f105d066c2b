// Charts, drawn by Chart.js. Each says in words what it shows, and can be taken along as PNG.
import { h, Component } from "./tree.js";
import { download } from "./tables.js";

const { Chart } = window;
const NAMES = ["ink", "soft", "line", "card", "good", "bad", "warn", "accent", "band"];

// The colours of the style sheet as they are now, light or dark.
export function colours() {
  const probe = document.createElement("span");
  document.body.append(probe);
  const found = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

// Drawn when they come into sight: there may be hundreds.
const sight = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) target.plot?.draw();
});

const redrawn = new Set();
// To be called when light has become dark.
export const redrawPlots = () => redrawn.forEach(plot => plot.draw());

// `make` gives Chart.js what to draw, from the colours; it is drawn anew where `stamp` has changed. `label` says what it shows.
export class Plot extends Component {
  componentDidMount() {
    this.canvas.plot = this;
    redrawn.add(this);
    if (this.props.small) sight.observe(this.canvas);
    else this.draw();
  }

  componentDidUpdate(before) {
    if (before.stamp !== this.props.stamp && (this.chart || !this.props.small)) this.draw();
  }

  componentWillUnmount() {
    redrawn.delete(this);
    sight.unobserve(this.canvas);
    this.chart?.destroy();
  }

  draw() {
    if (this.props.small) sight.unobserve(this.canvas);
    const found = colours();
    const made = this.props.make(found);
    const { options } = made;
    made.options = { animation: false, responsive: true, maintainAspectRatio: false, color: found.ink, ...options };
    if (this.chart && this.chart.config.type === made.type && !made.plugins) {
      this.chart.data = made.data;
      this.chart.options = made.options;
      this.chart.update("none");
    } else {
      this.chart?.destroy();
      this.chart = new Chart(this.canvas, made);
    }
  }

  take() {
    const { canvas } = this;
    const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
    const pen = copy.getContext("2d");
    pen.fillStyle = colours().card;
    pen.fillRect(0, 0, copy.width, copy.height);
    pen.drawImage(canvas, 0, 0);
    copy.toBlob(blob => download(`${this.props.name}.png`, blob));
  }

  render({ label, small, is = "", name }) {
    const canvas = h("canvas", { ref: node => (this.canvas = node ?? this.canvas), role: "img", "aria-label": label });
    if (small) return h("div", { class: "spark" }, canvas);
    return h("figure", { class: `plot ${is}` },
      h("div", { class: "canvas" }, canvas),
      h("button", { type: "button", class: "take", onClick: () => this.take(), "aria-label": `${name} as PNG` }, "PNG"));
  }
}
