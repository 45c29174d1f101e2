// Draws what the server measured: a lane a voice, bars from peaks, twice: as it is, and as it is once played.

export function unpack(text) {
  return Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
}

// The loudest value of each bar; louder lanes do not dwarf the quiet side of a telephone.
export function bars(peaks, count, whole = peaks.length) {
  const made = new Float32Array(count);
  const step = whole / count; // of the recording's own length, however much sound there is
  for (let bar = 0; bar < count; bar++) {
    const end = Math.max(Math.floor((bar + 1) * step), Math.floor(bar * step) + 1);
    for (let at = Math.floor(bar * step); at < end && at < peaks.length; at++) {
      if (peaks[at] > made[bar]) made[bar] = peaks[at];
    }
  }
  const ranked = Float32Array.from(made).sort();
  const loud = Math.max(ranked[Math.floor(count * 0.98)] ?? 0, 24);
  return made.map((one) => Math.min(1, one / loud));
}

const BAR = 2; // px
const SPACE = 1;

export class Lane {
  constructor(element, peaks, whole) {
    this.element = element;
    this.peaks = peaks;
    this.whole = whole; // buckets of the whole recording
    [this.wave, this.played] = element.querySelectorAll("canvas");
  }

  draw() {
    const { width, height } = this.element.getBoundingClientRect();
    if (!width || !height) return;
    const count = Math.max(1, Math.floor(width / (BAR + SPACE)));
    const values = bars(this.peaks, count, this.whole);
    for (const canvas of [this.wave, this.played]) {
      const scale = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      const pen = canvas.getContext("2d");
      pen.scale(scale, scale);
      pen.fillStyle = getComputedStyle(canvas).color;
      const step = width / count;
      for (let bar = 0; bar < count; bar++) {
        const tall = Math.max(1.5, values[bar] ** 0.8 * (height - 4));
        pen.fillRect(bar * step, (height - tall) / 2, Math.max(1, step - SPACE), tall);
      }
    }
  }

  show(part) {
    this.played.style.clipPath = `inset(0 ${100 - part * 100}% 0 0)`;
  }
}
