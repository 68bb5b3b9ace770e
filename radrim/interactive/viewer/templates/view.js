// What the page does. `state` is all that changes; `draw` shows it.
(() => {
  const $ = id => document.getElementById(id);
  const data = JSON.parse($("data").textContent), { grid, layers, sources } = data;
  const canvas = $("sky"), ctx = canvas.getContext("2d");
  const colours = Object.fromEntries(Object.entries(data.colours).map(([name, text]) => [name, bytesOf(text)]));
  const state = { view: null, layer: 0, other: Math.min(1, layers.length - 1), place: null, source: -1, timer: 0 };
  const most = layer => Math.max(Math.abs(layer.min), Math.abs(layer.max)) || 1;
  // Step of the sliders near 0: the noise, or a thousandth of the range of images of another unit.
  const fine = layer => layer.unit === "Jy/beam" && data.noise < most(layer) ? data.noise : most(layer) / 1000;
  const first = layer => ({ low: layer.low, high: layer.high, linear: layer.linear || fine(layer),
    stretch: layer.linear > 0 ? "asinh" : "linear", colours: layer.colours });
  const norms = layers.map(first);
  let anchor = -1; // the image whose contrast those of the same unit share

  // Which contrast an image is shown with.
  const normOf = k => norms[anchor >= 0 && layers[k].unit === layers[anchor].unit ? anchor : k];

  async function unpack() {
    if (typeof DecompressionStream === "undefined") {
      $("message").textContent = "This browser is too old to unpack the images (Chrome 80, Firefox 113 or Safari 16.4 can).";
      return;
    }
    const texts = [...document.querySelectorAll("script.pixels")];
    for (const [k, layer] of layers.entries()) {
      const stream = new Blob([bytesOf(texts[k].textContent)]).stream().pipeThrough(new DecompressionStream("deflate"));
      layer.codes = join(new Uint8Array(await new Response(stream).arrayBuffer()));
      texts[k].remove();
      if (k === 0) $("message").textContent = "";
      draw();
    }
  }

  // The image in colours, drawn anew when its contrast has changed.
  function painted(k) {
    const layer = layers[k], key = JSON.stringify(normOf(k));
    if (layer.key === key) return layer.canvas;
    const { width, height, codes } = layer, norm = normOf(k);
    const table = colourTable(norm, colours[norm.colours], layer.scale);
    layer.canvas = layer.canvas || Object.assign(document.createElement("canvas"), { width, height });
    const image = new ImageData(width, height), out = new Uint32Array(image.data.buffer);
    for (let y = 0; y < height; y++) { // FITS counts rows from below
      const to = (height - 1 - y) * width;
      for (let x = 0, from = y * width; x < width; x++) out[to + x] = table[codes[from + x]];
    }
    layer.canvas.getContext("2d").putImageData(image, 0, 0);
    layer.key = key;
    return layer.canvas;
  }

  const valueAt = (layer, x, y) => {
    const column = Math.floor((x + 0.5) / layer.cell), row = Math.floor((y + 0.5) / layer.cell);
    const inside = column >= 0 && row >= 0 && column < layer.width && row < layer.height;
    return inside && layer.codes ? half(layer.codes[row * layer.width + column]) / layer.scale : NaN;
  };
  const size = () => [canvas.clientWidth, canvas.clientHeight];
  const toScreen = (x, y) => {
    const [w, h] = size(), v = state.view;
    return [w / 2 + (x - v.x) * v.zoom, h / 2 - (y - v.y) * v.zoom];
  };
  const toPixel = (sx, sy) => {
    const [w, h] = size(), v = state.view;
    return [v.x + (sx - w / 2) / v.zoom, v.y - (sy - h / 2) / v.zoom];
  };
  const fitZoom = () => Math.min(size()[0] / grid.width, size()[1] / grid.height);
  const limits = () => [fitZoom() / 4, 80];
  function fit() {
    state.view = { x: (grid.width - 1) / 2, y: (grid.height - 1) / 2, zoom: fitZoom() };
    draw();
  }
  function zoom(factor, sx = size()[0] / 2, sy = size()[1] / 2) {
    state.view = zoomAt(state.view, sx - size()[0] / 2, sy - size()[1] / 2, factor, ...limits());
    draw();
  }
  function centre(x, y) {
    // A beam of 40 pixels of the screen shows the source and what is around it.
    const wide = data.beam ? data.beam[0] / grid.step : 5, want = Math.max(state.view.zoom, Math.min(40 / wide, 16));
    state.view = { x, y, zoom: Math.min(want, limits()[1]) };
    state.place = [x, y];
    draw();
  }

  let waiting = 0;
  function draw() { // once for each frame, however many events come
    if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; drawNow(); });
  }
  function drawNow() {
    const [w, h] = size(), ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
      [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
    }
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.fillStyle = "#10151c";
    ctx.fillRect(0, 0, w, h);
    const layer = layers[state.layer];
    if (layer.codes) drawImage(layer, w, h);
    if ($("marks").checked) drawMarks(w, h);
    drawBeam(h);
    drawScale(w, h);
    drawCross();
    showControls();
    showPlace();
  }
  function drawImage(layer, w, h) {
    const picture = painted(state.layer), { cell, width, height } = layer, { zoom: z } = state.view;
    // Only the cells in view, so that zooming deep costs nothing.
    const [left, bottom] = toPixel(0, h), [right, top] = toPixel(w, 0), within = (n, end) => Math.max(0, Math.min(end, n));
    const x0 = within(Math.floor((left + 0.5) / cell), width), x1 = within(Math.ceil((right + 0.5) / cell), width);
    const y0 = within(Math.floor((bottom + 0.5) / cell), height), y1 = within(Math.ceil((top + 0.5) / cell), height);
    if (x1 <= x0 || y1 <= y0) return;
    ctx.imageSmoothingEnabled = z * cell < 1.5;
    ctx.imageSmoothingQuality = "high";
    const [sx, sy] = toScreen(x0 * cell - 0.5, y1 * cell - 0.5);
    ctx.drawImage(picture, x0, height - y1, x1 - x0, y1 - y0, sx, sy, (x1 - x0) * cell * z, (y1 - y0) * cell * z);
  }
  function drawMarks(w, h) {
    const wide = data.beam ? data.beam[0] / grid.step : 3, radius = Math.max(9, 0.9 * wide * state.view.zoom);
    const seen = sources.map((s, k) => [k, ...toScreen(s.x, s.y)])
      .filter(([, x, y]) => x > -radius && y > -radius && x < w + radius && y < h + radius);
    ctx.font = "12px system-ui, sans-serif";
    ctx.lineJoin = "round";
    for (const [k, x, y] of seen) {
      // Light on a dark line, so that marks are seen on all colours.
      const at = [x + radius * 0.75 + 2, y - radius * 0.75], light = k === state.source ? "#ffd24d" : "#6fe3ff";
      for (const [colour, width] of [["rgba(0,0,0,.6)", 3.2], [light, k === state.source ? 2.2 : 1.2]]) {
        ctx.strokeStyle = colour;
        ctx.lineWidth = width;
        ctx.beginPath();
        ctx.arc(x, y, radius, 0, 2 * Math.PI);
        ctx.stroke();
        if (seen.length <= 60 && colour !== light) ctx.strokeText(String(k + 1), ...at);
      }
      ctx.fillStyle = light;
      if (seen.length <= 60) ctx.fillText(String(k + 1), ...at);
    }
  }
  function outlined(path) {
    for (const [colour, width] of [["rgba(0,0,0,.65)", 4], ["#fff", 1.6]]) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = width;
      ctx.beginPath();
      path();
      ctx.stroke();
    }
  }
  function drawBeam(h) {
    if (!data.beam) return;
    const [major, minor, pa] = data.beam, k = state.view.zoom / grid.step / 2, room = Math.max(major * k, 4);
    if (room > h / 5) return; // larger than a corner can hold
    // From north (up) through east (left).
    outlined(() => ctx.ellipse(16 + room, h - 16 - room, major * k, minor * k, (-90 - pa) * RADIAN, 0, 2 * Math.PI));
  }
  function drawScale(w, h) {
    const angle = niceAngle((w / 4 / state.view.zoom) * grid.step), long = (angle / grid.step) * state.view.zoom;
    const x = (w - long) / 2, y = h - 50;
    outlined(() => { ctx.moveTo(x, y - 4); ctx.lineTo(x, y); ctx.lineTo(x + long, y); ctx.lineTo(x + long, y - 4); });
    ctx.font = "600 12px system-ui, sans-serif";
    ctx.textAlign = "center";
    ctx.lineWidth = 3;
    ctx.strokeStyle = "rgba(0,0,0,.65)";
    ctx.strokeText(formatAngle(angle), w / 2, y - 8);
    ctx.fillStyle = "#fff";
    ctx.fillText(formatAngle(angle), w / 2, y - 8);
    ctx.textAlign = "start";
  }
  function drawCross() {
    if (!state.place) return;
    const [x, y] = toScreen(...state.place);
    outlined(() => {
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        ctx.moveTo(x + 5 * dx, y + 5 * dy);
        ctx.lineTo(x + 12 * dx, y + 12 * dy);
      }
    });
  }

  function showControls() {
    const layer = layers[state.layer], norm = normOf(state.layer), say = value => si(value, layer.unit, 3);
    [...$("layers").children].forEach((button, k) => button.setAttribute("aria-pressed", String(k === state.layer)));
    $("name").textContent = layer.title;
    $("other").value = String(state.other);
    $("blink").setAttribute("aria-pressed", String(state.timer > 0));
    $("stretch").value = norm.stretch;
    $("map").value = norm.colours;
    $("linear_line").style.visibility = norm.stretch === "asinh" ? "visible" : "hidden";
    for (const [id, key] of [["lowest", "low"], ["highest", "high"]]) {
      $(id).value = String(toSlider(norm[key], most(layer), fine(layer)));
      $(id + "_value").textContent = say(norm[key]);
    }
    $("linear").value = String(1 + Math.log10(norm.linear / most(layer)) / 6);
    $("linear_value").textContent = say(norm.linear);
    $("low").textContent = say(norm.low);
    $("high").textContent = say(norm.high);
    const bar = $("colours").getContext("2d"), strip = new ImageData(256, 1), map = colours[norm.colours];
    for (let k = 0; k < 256; k++) strip.data.set([map[3 * k], map[3 * k + 1], map[3 * k + 2], 255], 4 * k);
    bar.putImageData(strip, 0, 0);
  }
  function showPlace() {
    const rows = $("values").tBodies[0];
    if (rows.children.length !== layers.length) {
      rows.replaceChildren(...layers.map(layer => {
        const row = document.createElement("tr"), name = document.createElement("td");
        name.textContent = layer.title;
        row.append(name, document.createElement("td"));
        return row;
      }));
    }
    const at = state.hover || state.place, sky = at && pixelToSky(grid, ...at);
    if (at) {
      $("where").textContent = sky ? formatSky(sky, grid.step) : "below the horizon";
      $("degrees").textContent = sky ? formatDegrees(sky, grid.step) : "\u00a0";
      $("pixel").textContent = "pixel x " + Math.round(at[0]) + ", y " + Math.round(at[1]);
    }
    layers.forEach((layer, k) => {
      const value = at ? valueAt(layer, ...at) : NaN;
      rows.children[k].className = k === state.layer ? "on" : "";
      rows.children[k].lastChild.textContent = Number.isFinite(value) ? si(value, layer.unit) : "–";
    });
  }
  function show(k) {
    if (k < 0 || k >= layers.length || k === state.layer) return;
    [state.other, state.layer] = [state.layer, k];
    draw();
  }
  const swap = () => show(state.other);
  function blink(on = !state.timer) {
    clearInterval(state.timer);
    state.timer = on ? setInterval(swap, 700) : 0;
    draw();
  }
  function select(k, jump = true) {
    if (!sources[k]) return;
    state.source = k;
    [...$("sources").children].forEach((row, i) => { row.className = i === k ? "on" : ""; });
    if (jump) centre(sources[k].x, sources[k].y);
  }
  function change(part) {
    Object.assign(normOf(state.layer), part);
    draw();
  }
  const next = (select_, names) => names[(names.indexOf(select_) + 1) % names.length];

  function listSources() {
    const cell = (text, number = true) => Object.assign(document.createElement("td"), { textContent: text, className: number ? "n" : "" });
    $("sources").append(...sources.map((s, k) => {
      const row = document.createElement("tr"), link = document.createElement("a"), sky = pixelToSky(grid, s.x, s.y);
      Object.assign(link, { href: "#s" + (k + 1), textContent: String(k + 1) });
      link.addEventListener("click", () => { if (location.hash === "#s" + (k + 1)) select(k); });
      const number = cell("");
      number.append(link);
      row.append(number, cell(sky ? formatSky(sky, grid.step / 10) : "", false), cell(si(s.peak, "Jy/beam")),
        cell(s.peak_error ? si(s.peak_error, "Jy/beam", 2) : ""), cell(si(s.flux, "Jy")), cell(s.flux_error ? si(s.flux_error, "Jy", 2) : ""));
      return row;
    }));
    if (!sources.length) $("selection").textContent = "No sources are listed: the page has no restored image, or nothing in it stands out of the noise.";
  }
  function follow() {
    const found = /^#s(\d+)$/.exec(location.hash);
    if (found) select(Number(found[1]) - 1);
  }

  const pointers = new Map();
  const place = event => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  let moved = 0;
  function pressed(event) {
    if (!pointers.size) moved = 0;
    pointers.set(event.pointerId, place(event));
    try { canvas.setPointerCapture(event.pointerId); } catch { /* the pointer is gone already */ }
    canvas.classList.add("drag");
    canvas.focus({ preventScroll: true });
  }
  function dragged(event) {
    const at = place(event), before = pointers.get(event.pointerId);
    if (event.pointerType !== "touch") state.hover = toPixel(...at);
    if (before) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, p]) => p);
      if (other) { // two fingers: what is under the middle stays there
        const apart = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]) || 1, half_ = (p, q) => [(p[0] + q[0]) / 2, (p[1] + q[1]) / 2];
        const [from, to] = [half_(before, other), half_(at, other)];
        pan(to[0] - from[0], to[1] - from[1]);
        zoom(apart(at, other) / apart(before, other), ...to);
      } else pan(at[0] - before[0], at[1] - before[1]);
      moved += Math.hypot(at[0] - before[0], at[1] - before[1]);
      pointers.set(event.pointerId, at);
    }
    draw();
  }
  function pan(dx, dy) {
    const v = state.view;
    state.view = { x: v.x - dx / v.zoom, y: v.y + dy / v.zoom, zoom: v.zoom };
    draw();
  }
  function released(event) {
    if (pointers.delete(event.pointerId) && event.type === "pointerup" && moved < 6) {
      state.place = toPixel(...place(event));
      const wide = Math.max(12, (data.beam ? data.beam[0] / grid.step : 3) * state.view.zoom), [x, y] = place(event);
      const near = sources.findIndex(s => { const p = toScreen(s.x, s.y); return Math.hypot(p[0] - x, p[1] - y) < wide; });
      if (near >= 0) select(near, false);
    }
    if (!pointers.size) canvas.classList.remove("drag");
    draw();
  }

  const keys = {
    " ": swap, b: () => blink(), "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit,
    ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0), ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
    s: () => change({ stretch: next(normOf(state.layer).stretch, ["linear", "asinh", "log"]) }),
    c: () => change({ colours: next(normOf(state.layer).colours, Object.keys(colours)) }),
    r: () => reset(), m: () => { $("marks").checked = !$("marks").checked; draw(); },
    "[": () => select(Math.max(state.source - 1, 0)), "]": () => select(Math.min(state.source + 1, sources.length - 1)),
  };
  const reset = () => change(first(layers[anchor >= 0 && layers[anchor].unit === layers[state.layer].unit ? anchor : state.layer]));
  function typed(event) {
    const busy = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (busy || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && event.target.tagName === "BUTTON") return; // it presses the button
    const act = keys[event.key] || (/^[1-9]$/.test(event.key) && (() => show(Number(event.key) - 1)));
    if (!act || (event.key.startsWith("Arrow") && event.target !== canvas)) return;
    event.preventDefault();
    act();
  }

  function connect() {
    layers.forEach((layer, k) => {
      const button = Object.assign(document.createElement("button"), { textContent: layer.title, title: layer.file + " (" + (k + 1) + ")" });
      button.addEventListener("click", () => show(k));
      $("layers").append(button);
      $("other").append(new Option(layer.title, String(k)));
    });
    $("map").append(...Object.keys(colours).map(name => new Option(name, name)));
    const on = (id, event, act) => $(id).addEventListener(event, act);
    on("in", "click", () => zoom(1.5));
    on("out", "click", () => zoom(1 / 1.5));
    on("fit", "click", fit);
    on("one", "click", () => zoom(1 / state.view.zoom));
    on("swap", "click", swap);
    on("blink", "click", () => blink());
    on("reset", "click", reset);
    on("marks", "change", draw);
    on("other", "change", () => { state.other = Number($("other").value); draw(); });
    on("same", "change", () => { anchor = $("same").checked ? state.layer : -1; draw(); });
    on("stretch", "change", () => change({ stretch: $("stretch").value }));
    on("map", "change", () => change({ colours: $("map").value }));
    const slid = id => fromSlider(Number($(id).value), most(layers[state.layer]), fine(layers[state.layer]));
    const least = () => fine(layers[state.layer]) / 100; // between dark and bright
    on("lowest", "input", () => change({ low: Math.min(slid("lowest"), normOf(state.layer).high - least()) }));
    on("highest", "input", () => change({ high: Math.max(slid("highest"), normOf(state.layer).low + least()) }));
    on("linear", "input", () => change({ linear: most(layers[state.layer]) * 10 ** (6 * (Number($("linear").value) - 1)) }));
    on("go", "submit", event => {
      event.preventDefault();
      const sky = parseSky($("target").value), at = sky && skyToPixel(grid, ...sky);
      $("target").setCustomValidity(!sky ? "Write 18:49:25 -00:55:50, or degrees: 282.35 -0.93" : !at ? "This is on the other side of the sky." : "");
      if (at) centre(...at); else $("target").reportValidity();
    });
    on("target", "input", () => $("target").setCustomValidity(""));
    canvas.addEventListener("pointerdown", pressed);
    canvas.addEventListener("pointermove", dragged);
    canvas.addEventListener("pointerup", released);
    canvas.addEventListener("pointercancel", released);
    canvas.addEventListener("pointerleave", () => { state.hover = null; draw(); });
    canvas.addEventListener("wheel", event => {
      event.preventDefault();
      // Wheels count pixels, lines or pages; a trackpad's pinch comes with ctrl and small steps.
      const unit = event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 200 : 1;
      zoom(Math.exp(-event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.0018)), ...place(event));
    }, { passive: false });
    canvas.addEventListener("dblclick", event => zoom(2, ...place(event)));
    document.addEventListener("keydown", typed);
    window.addEventListener("hashchange", follow);
    new ResizeObserver(draw).observe(canvas);
  }

  connect();
  listSources();
  fit();
  follow();
  // For scripts: `await radrim.ready`, then its functions.
  window.radrim = { ready: unpack(), state, layers, norms, data, show, fit, zoom, centre, select, drawNow, normOf,
    toScreen, toPixel, valueAt };
})();
