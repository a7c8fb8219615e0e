// Draws the charts and keeps an open page fresh. Every page reads without this: each chart has a table beside it.
const plots = new Map();

const TRIM = { maximumSignificantDigits: 3 };
const UNITS = {
  rate: (value) => `${value.toLocaleString("en", TRIM)}/s`,
  share: (value) => `${(value * 100).toLocaleString("en", TRIM)} %`,
  count: (value) => value.toLocaleString("en"),
  duration: (value) => {
    const [size, unit] = [[6e10, "min"], [1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]].find(([size]) => value >= size) ?? [1, "ns"];
    return `${(value / size).toLocaleString("en", TRIM)} ${unit}`;
  },
};

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function optionsOf(figure) {
  const given = JSON.parse(figure.querySelector("script").textContent);
  const write = (value) => (value === null || value === undefined ? "-" : UNITS[figure.dataset.unit](value));
  const text = { color: colour("muted"), fontSize: 11 };
  const line = { lineStyle: { color: colour("line") } };
  const series = given.series.map((one) => ({
    type: "line", name: one.name, data: one.data, stack: one.stack,
    color: colour(one.colour), lineStyle: { width: 2 }, symbolSize: 5, showSymbol: one.data.filter(([, value]) => value !== null).length < 3,
  }));
  if (series.length && given.marks.length) {
    series[0].markLine = {
      symbol: "none", silent: true, data: given.marks,
      lineStyle: { color: colour("text"), type: "dashed" }, label: { formatter: "{b}", color: colour("text"), rotate: 0 },
    };
  }
  return {
    animation: false, useUTC: true, backgroundColor: "transparent",
    grid: { left: 8, right: 16, top: series.length > 1 ? 44 : 28, bottom: 4, containLabel: true },
    legend: series.length > 1 ? { top: 0, right: 0, textStyle: text, icon: "roundRect" } : undefined,
    // Rich text is drawn on the canvas: a name from telemetry never becomes HTML.
    tooltip: {
      trigger: "axis", renderMode: "richText", valueFormatter: write,
      backgroundColor: colour("panel"), borderColor: colour("line"), textStyle: { color: colour("text"), fontSize: 12 },
    },
    xAxis: { type: "time", ...given.xAxis, axisLabel: { ...text, hideOverlap: true }, axisLine: line },
    yAxis: { type: "value", min: 0, splitNumber: 4, axisLabel: { ...text, formatter: write }, splitLine: line },
    series,
  };
}

async function drawCharts() {
  const figures = document.querySelectorAll("figure[data-chart]");
  if (!figures.length) return;
  const { echarts } = await import("/static/echarts/index.js");
  for (const figure of figures) {
    const place = figure.querySelector(".plot");
    let plot = echarts.getInstanceByDom(place);
    if (!plot) {
      plot = echarts.init(place, null, { renderer: "canvas" });
      new ResizeObserver(() => plot.resize()).observe(place);
      plots.set(figure.dataset.chart, plot);
    }
    plot.setOption(optionsOf(figure), true);
    figure.dataset.drawn = "true";
  }
}

function focusedKey() {
  const at = document.activeElement;
  if (!at || !document.getElementById("main").contains(at)) return null;
  if (at.id) return `#${CSS.escape(at.id)}`;
  if (at.tagName === "SUMMARY" && at.parentElement.id) return `#${CSS.escape(at.parentElement.id)} > summary`;
  return at.getAttribute("href") ? `main a[href="${CSS.escape(at.getAttribute("href"))}"]` : null;
}

// Only what is inside <main>, and the count of alerts, is replaced, so that fields being typed in, scroll position and charts stay.
async function reload() {
  if (document.hidden || String(getSelection())) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("main");
  document.getElementById("alerts-firing").replaceWith(page.getElementById("alerts-firing"));
  const main = document.getElementById("main");
  const focused = focusedKey();
  const open = [...main.querySelectorAll("details[open][id]")].map((details) => details.id);
  for (const figure of fresh.querySelectorAll("figure[data-chart]")) {
    const kept = main.querySelector(`figure[data-chart="${figure.dataset.chart}"] .plot`);
    if (!kept) continue;
    kept.setAttribute("aria-label", figure.querySelector(".plot").getAttribute("aria-label"));
    figure.querySelector(".plot").replaceWith(kept);
  }
  main.replaceChildren(...fresh.childNodes);
  open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  if (focused) document.querySelector(focused)?.focus({ preventScroll: true });
  for (const [key, plot] of plots) {
    if (!plot.getDom().isConnected) { plot.dispose(); plots.delete(key); }
  }
  await drawCharts();
}

const refreshS = Number(document.body.dataset.refreshS);
if (refreshS > 0) {
  (async () => {
    for (;;) {
      await new Promise((wake) => setTimeout(wake, refreshS * 1000));
      await reload().then(
        () => delete document.body.dataset.stale,
        () => { document.body.dataset.stale = "true"; },
      );
    }
  })();
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
await drawCharts();
document.body.dataset.ready = "true";
