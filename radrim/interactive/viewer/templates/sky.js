"use strict";
// Coordinates, numbers and colours: functions that need no page. Angles are degrees, pixels count from 0.

const RADIAN = Math.PI / 180;

// Pixel to [right ascension, declination] in the projection SIN; null below the horizon.
function pixelToSky(grid, x, y) {
  const l = -(x - grid.x) * grid.step * RADIAN, m = (y - grid.y) * grid.step * RADIAN, r2 = l * l + m * m;
  if (r2 > 1) return null;
  const n = Math.sqrt(1 - r2), cos = Math.cos(grid.dec * RADIAN), sin = Math.sin(grid.dec * RADIAN);
  const east = l, north = n * cos - m * sin, up = m * cos + n * sin;
  const ra = grid.ra + Math.atan2(east, north) / RADIAN;
  // atan2 keeps the digits near a pole, where asin loses them.
  return [((ra % 360) + 360) % 360, Math.atan2(up, Math.hypot(east, north)) / RADIAN];
}

// [right ascension, declination] to pixel [x, y]; null for the half of the sky that the image cannot show.
function skyToPixel(grid, ra, dec) {
  const a = (ra - grid.ra) * RADIAN, d = dec * RADIAN, d0 = grid.dec * RADIAN;
  const n = Math.sin(d) * Math.sin(d0) + Math.cos(d) * Math.cos(d0) * Math.cos(a);
  if (n < 0) return null;
  const l = Math.cos(d) * Math.sin(a), m = Math.sin(d) * Math.cos(d0) - Math.cos(d) * Math.sin(d0) * Math.cos(a);
  return [grid.x - l / RADIAN / grid.step, grid.y + m / RADIAN / grid.step];
}

// Angle in parts of 60: sexagesimal(1.5, 1) is "01:30:00.0". Rounded before it is split, so that no part shows 60.
function sexagesimal(value, digits, width) {
  const whole = Math.round(Math.abs(value) * 3600 * 10 ** digits), unit = 10 ** digits;
  const seconds = whole % (60 * unit), minutes = Math.floor(whole / (60 * unit)) % 60;
  const first = Math.floor(whole / (3600 * unit));
  const last = (seconds / unit).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  const pad = (n, size) => String(n).padStart(size, "0");
  return (value < 0 && whole > 0 ? "-" : "") + [pad(first, width || 2), pad(minutes, 2), last].join(":");
}

// Digits of the seconds of declination that tell neighbouring pixels apart; right ascension has one more.
function digitsFor(step) {
  return Math.max(0, Math.min(9, Math.ceil(-Math.log10(step * 3600)) + 1));
}

function formatSky(sky, step) {
  const digits = digitsFor(step), unit = 10 ** (digits + 1);
  // 23:59:59.99 may round up to 24 h.
  const hours = Math.round((sky[0] / 15) * 3600 * unit) / unit / 3600;
  const ra = sexagesimal(hours >= 24 ? 0 : hours, digits + 1), dec = sexagesimal(sky[1], digits);
  return ra + " " + (dec.startsWith("-") ? dec : "+" + dec);
}

function formatDegrees(sky, step) {
  const digits = Math.max(2, Math.min(12, Math.ceil(-Math.log10(step)) + 1));
  return sky[0].toFixed(digits) + "° " + (sky[1] < 0 ? "" : "+") + sky[1].toFixed(digits) + "°";
}

// [ra, dec] from "18:49:25 -00:55:50", "18h49m25s -0d55m50s" (hours) or "282.35 -0.93" (degrees); null if it is neither.
function parseSky(text) {
  const clean = text.trim().replace(/\u2212/g, "-").replace(/[hdm°'′:]\s*/g, ":").replace(/[s"″]/g, " ").replace(/:+(?=\s|$)/g, "").replace(/:(?=[+-])/g, " ");
  let words = clean.split(/[\s,]+/).filter(Boolean);
  if (words.length === 6) words = [words.slice(0, 3).join(":"), words.slice(3).join(":")];
  if (words.length !== 2 || !words.every(w => /^[+-]?\d+(\.\d*)?(:\d+(\.\d*)?){0,2}$/.test(w))) return null;
  const number = word => {
    const parts = word.replace(/^[+-]/, "").split(":").map(Number);
    return (word.startsWith("-") ? -1 : 1) * (parts[0] + (parts[1] || 0) / 60 + (parts[2] || 0) / 3600);
  };
  const ra = number(words[0]) * (words[0].includes(":") ? 15 : 1), dec = number(words[1]);
  return Math.abs(dec) <= 90 && ra >= 0 && ra <= 360 ? [ra % 360, dec] : null;
}

// A value with a metric prefix: si(0.0123, "Jy") is "12.3 mJy".
function si(value, unit, digits = 4) {
  if (!Number.isFinite(value)) return "none";
  if (!unit) return String(Number(value.toPrecision(digits)));
  if (value === 0) return "0 " + unit;
  const size = Math.abs(Number(value.toPrecision(digits)));
  const [factor, sign] = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]]
    .find(p => size >= p[0]) || [1e-9, "n"];
  return Number((value / factor).toPrecision(digits)) + " " + sign + unit;
}

function formatAngle(degrees) {
  const [factor, unit] = degrees >= 1 ? [1, "°"] : degrees >= 1 / 60 ? [60, "′"] : degrees >= 1 / 3600 ? [3600, "″"]
    : degrees >= 1 / 3.6e6 ? [3.6e6, " mas"] : [3.6e9, " µas"];
  return Number((degrees * factor).toPrecision(3)) + unit;
}

// The longest of 1, 2 and 5 times a power of ten, in °, ′, ″, mas or µas, that is at most `degrees`.
function niceAngle(degrees) {
  const unit = [1, 1 / 60, 1 / 3600, 1 / 3.6e6].find(u => degrees >= u) || 1 / 3.6e9;
  const n = degrees / unit, power = 10 ** Math.floor(Math.log10(n));
  return [5, 2, 1].find(k => k * power <= n * (1 + 1e-9)) * power * unit;
}

// Bytes of `radrim.interactive.viewer.layers.encode` to numbers of 16 bits.
function join(bytes) {
  const count = bytes.length >> 1, out = new Uint16Array(count);
  for (let i = 0; i < count; i++) out[i] = bytes[i] | (bytes[count + i] << 8);
  return out;
}

// The number that 16 bits stand for (binary16 of IEEE 754).
function half(code) {
  const sign = code & 0x8000 ? -1 : 1, exponent = (code >> 10) & 31, fraction = code & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 25) * (1024 + fraction) : sign * 2 ** -24 * fraction;
}

// Brightness to 0..1 along the colour map; `norm` has low, high, linear (asinh is linear up to it) and stretch.
function toUnit(norm, value) {
  const { low, high, linear } = norm, part = (value - low) / (high - low);
  if (norm.stretch === "log") return Math.log10(1 + 999 * Math.max(part, 0)) / 3;
  if (norm.stretch !== "asinh" || !(linear > 0)) return part;
  const [a, b] = [Math.asinh(low / linear), Math.asinh(high / linear)];
  return (Math.asinh(value / linear) - a) / (b - a);
}

function fromUnit(norm, part) {
  const { low, high, linear } = norm;
  if (norm.stretch === "log") return low + ((10 ** (3 * part) - 1) / 999) * (high - low);
  if (norm.stretch !== "asinh" || !(linear > 0)) return low + part * (high - low);
  const [a, b] = [Math.asinh(low / linear), Math.asinh(high / linear)];
  return Math.sinh(a + part * (b - a)) * linear;
}

// Colour (RGBA in the memory order of ImageData) of each of the 65536 codes; numbers are pixels times `scale`.
function colourTable(norm, colours, scale) {
  const out = new Uint8ClampedArray(4 * 65536);
  for (let code = 0; code < 65536; code++) {
    const value = half(code) / scale, known = Number.isFinite(value);
    const k = known ? 3 * Math.max(0, Math.min(255, Math.floor(256 * toUnit(norm, value)))) : 0;
    out.set(known ? [colours[k], colours[k + 1], colours[k + 2], 255] : [70, 78, 88, 255], 4 * code);
  }
  return new Uint32Array(out.buffer);
}

// Sliders: a place from -1 to 1 to a value up to `most`; near 0 in steps well below the noise.
function fromSlider(place, most, noise) {
  const k = Math.asinh(most / noise);
  return (Math.sinh(place * k) / Math.sinh(k)) * most;
}

function toSlider(value, most, noise) {
  return Math.max(-1, Math.min(1, Math.asinh((value / most) * Math.sinh(Math.asinh(most / noise))) / Math.asinh(most / noise)));
}

// A view is the pixel in the middle of the screen and the length of a pixel on it; the place (px, py) right and below
// of the middle stays where it is on the sky.
function zoomAt(view, px, py, factor, least, most) {
  const zoom = Math.max(least, Math.min(most, view.zoom * factor));
  return { x: view.x + px / view.zoom - px / zoom, y: view.y - py / view.zoom + py / zoom, zoom };
}

function bytesOf(text) {
  const binary = atob(text.trim()), out = new Uint8Array(binary.length);
  for (let i = 0; i < out.length; i++) out[i] = binary.charCodeAt(i);
  return out;
}

if (typeof module !== "undefined") {
  module.exports = { pixelToSky, skyToPixel, sexagesimal, formatSky, formatDegrees, parseSky, si, formatAngle, niceAngle,
    join, half, toUnit, fromUnit, colourTable, fromSlider, toSlider, zoomAt, bytesOf };
}
