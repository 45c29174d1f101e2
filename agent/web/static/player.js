// One recording: its sound, its lanes, its buttons. Says "moved" to whoever follows it (the text).
import { Lane, unpack } from "./waves.js";

export const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5];

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const rest = String(whole % 60).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

// Channels through gains of their own: made when somebody first mutes one, so that plain listening stays plain.
class Mixer {
  constructor(audio) {
    this.context = new AudioContext();
    const source = this.context.createMediaElementSource(audio);
    const split = this.context.createChannelSplitter(2);
    const merge = this.context.createChannelMerger(2);
    source.connect(split);
    this.gains = [0, 1].map((channel) => {
      const own = this.context.createGain();
      const across = this.context.createGain();
      split.connect(own, channel);
      split.connect(across, channel);
      own.connect(merge, 0, channel);
      across.connect(merge, 0, 1 - channel);
      return { own, across };
    });
    merge.connect(this.context.destination);
  }

  // Whoever is left alone is heard on both ears.
  set(muted) {
    this.gains.forEach(({ own, across }, channel) => {
      own.gain.value = muted.has(channel) ? 0 : 1;
      across.gain.value = !muted.has(channel) && muted.has(1 - channel) ? 1 : 0;
    });
    return this.context.resume();
  }
}

export class Player extends EventTarget {
  constructor(box) {
    super();
    this.box = box;
    this.id = Number(box.dataset.recording);
    this.call = Number(box.dataset.call);
    this.seconds = Number(box.dataset.seconds);
    this.audio = box.querySelector("audio");
    this.deck = box.querySelector(".deck");
    this.waves = box.querySelector("[data-waves]");
    this.lanes = [];
    this.silences = [];
    this.muted = new Set();
    this.skips = false;
    this.mixer = null;
    this.hushed = (box.dataset.hushed ?? "").split(" ").filter(Boolean).map((one) => one.split("-").map(Number));
    this.#show();
    this.#wire();
    const at = Number(box.dataset.at);
    if (at) this.seek(at);
    else this.#moved();
  }

  find(selector) {
    return this.deck.querySelector(selector);
  }

  // Ours instead of the browser's own controls.
  #show() {
    this.audio.controls = false;
    this.audio.hidden = true;
    this.deck.hidden = false;
    this.box.classList.add("is-ready");
    this.audio.preservesPitch = true;
  }

  #wire() {
    const audio = this.audio;
    for (const name of ["timeupdate", "seeked", "loadedmetadata"]) audio.addEventListener(name, () => this.#moved());
    audio.addEventListener("play", () => this.#played(true));
    audio.addEventListener("pause", () => this.#played(false));
    audio.addEventListener("ended", () => this.#played(false));
    audio.addEventListener("error", () => this.#failed());
    this.find("[data-play]").addEventListener("click", () => this.toggle());
    for (const one of this.deck.querySelectorAll("[data-step]")) {
      one.addEventListener("click", () => this.step(Number(one.dataset.step)));
    }
    this.find("[data-speed]").addEventListener("change", (event) => this.speed(Number(event.target.value)));
    this.find("[data-skip]").addEventListener("click", () => this.skip());
    for (const one of this.deck.querySelectorAll("[data-mute]")) {
      one.addEventListener("click", () => this.mute(Number(one.dataset.mute)));
    }
    this.find("[data-share]").addEventListener("click", () => this.share());
    const point = (event) => {
      const box = this.waves.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * this.seconds;
    };
    this.waves.addEventListener("pointerdown", (event) => {
      if (event.button || event.target.closest("[data-seek]")) return;
      this.waves.setPointerCapture(event.pointerId);
      this.drags = true;
      this.seek(point(event));
    });
    this.waves.addEventListener("pointermove", (event) => {
      if (this.drags) this.seek(point(event));
      this.#hint(event, point(event));
    });
    for (const name of ["pointerup", "pointercancel"]) this.waves.addEventListener(name, () => (this.drags = false));
    this.waves.addEventListener("pointerleave", () => (this.find("[data-hint]").hidden = true));
    new ResizeObserver(() => this.draw()).observe(this.waves);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  #hint(event, second) {
    const hint = this.find("[data-hint]");
    const box = this.waves.getBoundingClientRect();
    const near = event.target.closest("[title]")?.title;
    hint.textContent = near ? near : clock(second);
    hint.style.left = `${((event.clientX - box.left) / box.width) * 100}%`;
    hint.hidden = event.pointerType === "touch" && !this.drags;
  }

  async load() {
    if (this.loading) return this.loading;
    this.loading = fetch(`/recordings/${this.id}/peaks`).then(async (answer) => {
      if (!answer.ok) return;
      const told = await answer.json();
      this.silences = told.silences;
      this.lanes = [...this.deck.querySelectorAll("[data-lane]")].map(
        (lane) =>
          new Lane(lane, unpack(told.channels[Number(lane.dataset.lane)] ?? ""), (this.seconds * 1000) / told.bucket_ms),
      );
      this.draw();
      this.box.dataset.drawn = "";
    });
    this.loading.catch(() => (this.loading = null));
    return this.loading;
  }

  draw() {
    for (const lane of this.lanes) lane.draw();
    this.#moved();
  }

  get now() {
    return this.audio.currentTime;
  }

  get playing() {
    return !this.audio.paused && !this.audio.ended;
  }

  // Before anything is loaded the place is remembered by the browser itself (HTML, default playback start position).
  seek(second) {
    this.audio.currentTime = Math.min(Math.max(0, second), Math.max(0, this.seconds - 0.05));
    this.#moved();
  }

  step(seconds) {
    this.seek(this.now + seconds);
  }

  play(second) {
    if (second !== undefined) this.seek(second);
    this.audio.play().catch(() => {});
  }

  toggle() {
    if (this.playing) this.audio.pause();
    else this.play();
  }

  speed(value) {
    this.audio.playbackRate = value;
    this.audio.defaultPlaybackRate = value;
    this.find("[data-speed]").value = String(value);
  }

  faster(steps) {
    const place = SPEEDS.indexOf(this.audio.playbackRate) + steps;
    this.speed(SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, place))]);
  }

  skip() {
    this.skips = !this.skips;
    this.find("[data-skip]").setAttribute("aria-pressed", String(this.skips));
    if (this.skips) this.load();
  }

  mute(channel) {
    const button = this.find(`[data-mute="${channel}"]`);
    if (!button) return;
    if (this.muted.has(channel)) this.muted.delete(channel);
    else this.muted.add(channel);
    button.setAttribute("aria-pressed", String(this.muted.has(channel)));
    this.deck.querySelector(`[data-lane="${channel}"]`).classList.toggle("is-muted", this.muted.has(channel));
    this.mixer ??= new Mixer(this.audio);
    this.mixer.set(this.muted);
  }

  muteAll() {
    this.audio.muted = !this.audio.muted;
    this.box.classList.toggle("is-silent", this.audio.muted);
  }

  link() {
    const other = this.box.hasAttribute("data-other") ? `&recording=${this.id}` : "";
    return `${location.origin}/interactions/${this.call}?at=${this.now.toFixed(1)}${other}`;
  }

  async share() {
    const button = this.find("[data-share]");
    const words = button.querySelector("span");
    try {
      await navigator.clipboard.writeText(this.link());
    } catch {
      prompt(button.title, this.link()); // without HTTPS a page may not write there
      return;
    }
    words.dataset.words ??= words.textContent;
    words.textContent = button.dataset.done;
    clearTimeout(this.told);
    this.told = setTimeout(() => (words.textContent = words.dataset.words), 2500);
  }

  #played(is) {
    const button = this.find("[data-play]");
    const names = button.dataset.names.split("|");
    this.box.classList.toggle("is-playing", is);
    button.setAttribute("aria-label", names[is ? 1 : 0]);
    this.find("[data-problem]").hidden = true;
    if (is) {
      this.mixer?.context.resume();
      const follow = () => {
        if (!this.playing) return;
        this.#moved();
        requestAnimationFrame(follow);
      };
      requestAnimationFrame(follow);
    }
    this.dispatchEvent(new Event(is ? "playing" : "paused"));
  }

  #failed() {
    const problem = this.find("[data-problem]");
    problem.textContent = problem.dataset.words;
    problem.hidden = false;
  }

  #moved() {
    const now = this.now;
    if (this.skips && this.playing && !this.audio.seeking) {
      const silence = this.silences.find(([start, end]) => now >= start && now < end - 0.2);
      if (silence) return this.seek(silence[1]);
    }
    // What was masked in the text is not played aloud here either.
    if (this.hushed.length) this.audio.volume = this.hushed.some(([start, end]) => now >= start && now < end) ? 0 : 1;
    const part = this.seconds ? Math.min(1, now / this.seconds) : 0;
    for (const lane of this.lanes) lane.show(part);
    this.find("[data-head]").style.left = `${part * 100}%`;
    const text = clock(now);
    const place = this.find("[data-now]");
    if (place.textContent !== text) {
      place.textContent = text;
      this.waves.setAttribute("aria-valuenow", String(Math.floor(now)));
      this.waves.setAttribute("aria-valuetext", text);
    }
    this.dispatchEvent(new Event("moved"));
  }
}
