// Pages with calls in progress keep themselves up to date: an event says that something has changed, the page asks for
// itself again, and the parts marked data-live-part are replaced by the server's. Pausing and listening in are here too.
import { attach } from "./cardline.js";

const card = Number(document.querySelector("[data-live-card]")?.dataset.liveCard);
const all = Boolean(document.querySelector("[data-live-all]"));
const REFRESH_MS = 800; // no more often, whatever happens
const RETRY_MS = 20000;

// Seconds: counted here from what the server said.

const counters = new WeakMap();

function count() {
  for (const place of document.querySelectorAll("[data-seconds]")) {
    if (!counters.has(place)) counters.set(place, performance.now() - 1000 * Number(place.dataset.seconds));
    const whole = Math.floor((performance.now() - counters.get(place)) / 1000);
    const rest = String(whole % 60).padStart(2, "0");
    const minutes = Math.floor(whole / 60);
    const text =
      minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
    if (place.textContent !== text) place.textContent = text;
  }
}
setInterval(count, 500);

// News

let timer = 0;
let last = -REFRESH_MS;
let asking = false;

function refreshSoon() {
  if (timer) return;
  timer = setTimeout(refresh, Math.max(0, last + REFRESH_MS - performance.now()));
}

// Where older entries were put below the history, it is asked for down to where they begin: nothing is lost between.
function address() {
  const older = document.querySelector(".history[data-after]");
  if (!older) return location.href;
  const url = new URL(location.href);
  url.searchParams.set("through", older.dataset.after);
  return url;
}

async function refresh() {
  timer = 0;
  if (asking) return refreshSoon();
  asking = true;
  last = performance.now();
  try {
    const answer = await fetch(address(), { headers: { Accept: "text/html" }, cache: "no-store" });
    if (!answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live-part]")) {
      const other = fresh.querySelector(`[data-live-part="${part.dataset.livePart}"]`);
      if (other) replace(part, other);
    }
    count();
    showListening();
  } catch {
    // the network is away; the stream of events comes back when it does, and then everything is asked for
  } finally {
    asking = false;
  }
}

// What somebody listens to, reads or types in stays as it is; the rest becomes what the server says.
function isBusy(entry) {
  const heard = Array.from(entry.querySelectorAll("audio")).some((audio) => audio.currentTime > 0 || !audio.paused);
  return heard || entry.contains(document.activeElement) || Boolean(entry.querySelector("details[open]:not(.threaded)"));
}

function replace(part, other) {
  const entries = Array.from(part.querySelectorAll(".entry"));
  if (part.dataset.livePart !== "history" || !entries.some(isBusy)) {
    const focused = part.contains(document.activeElement) ? focusName(document.activeElement) : "";
    part.replaceChildren(...other.childNodes);
    part.querySelectorAll("[data-sound]").forEach(attach);
    if (focused) part.querySelector(focused)?.focus();
    return;
  }
  for (const entry of entries) {
    const now = entry.id && other.querySelector(`#${CSS.escape(entry.id)}`);
    if (now && !isBusy(entry)) {
      entry.replaceWith(now);
      now.querySelectorAll("[data-sound]").forEach(attach);
    }
  }
}

function focusName(element) {
  const entry = element.closest(".entry[id]");
  const kind = element.closest("form[data-command]") ? "form[data-command] button" : "[data-listen]";
  return entry ? `#${CSS.escape(entry.id)} ${kind}` : "";
}

let source = null;

function open() {
  source = new EventSource("/events");
  let wasOpen = false;
  source.addEventListener("open", () => {
    if (wasOpen || lost) refreshSoon();
    wasOpen = true;
    lost = false;
  });
  source.addEventListener("reload", refreshSoon);
  source.addEventListener("interaction", (event) => {
    const news = JSON.parse(event.data);
    if (all || news.cards.includes(card) || document.getElementById(`entry-${news.id}`)) refreshSoon();
  });
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) setTimeout(reopen, RETRY_MS);
  });
}

let lost = false;

function close() {
  source?.close();
  source = null;
  lost = true;
}

function reopen() {
  if (document.hidden) return;
  close();
  open();
}

// A hidden page keeps no connection: browsers have few of them.
document.addEventListener("visibilitychange", () => (document.hidden ? close() : reopen()));
addEventListener("pagehide", close);
if (!document.hidden) open();

// Pausing

function complain(element, text) {
  const bar = element.closest(".live-bar");
  if (!bar) return;
  const place = bar.querySelector(".live-problem") ?? bar.appendChild(document.createElement("p"));
  place.className = "live-problem";
  place.setAttribute("role", "alert");
  place.textContent = text;
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-command]");
  if (!form) return;
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const headers = { "X-CSRF-Token": form.elements.csrf.value, "Content-Type": "application/json" };
    const answer = await fetch(form.action, { method: "POST", headers, body: "{}" });
    if (!answer.ok) throw new Error(String(answer.status));
    button.disabled = false;
    refreshSoon();
  } catch {
    button.disabled = false;
    complain(form, form.dataset.failed);
  }
});

// Listening in: one call at a time.

let player = null;
let heard = "";

function showListening() {
  for (const link of document.querySelectorAll("[data-listen]")) {
    const on = link.getAttribute("href") === heard;
    link.setAttribute("role", "button");
    link.setAttribute("aria-pressed", String(on));
    link.querySelector("span").textContent = on ? link.dataset.stop : link.dataset.listen;
  }
}

function stop() {
  if (player) {
    player.onended = player.onerror = null;
    player.pause();
    player.removeAttribute("src"); // ends the request
    player.load();
  }
  player = null;
  heard = "";
  showListening();
}

function listen(link) {
  const same = link.getAttribute("href") === heard;
  stop();
  if (same) return;
  for (const other of document.querySelectorAll("audio")) other.pause();
  heard = link.getAttribute("href");
  player = new Audio(heard);
  player.onended = stop;
  player.onerror = () => {
    stop();
    complain(link, link.dataset.failed);
  };
  player.play().catch(() => {});
  showListening();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-listen]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  listen(link);
});
document.addEventListener("play", stop, true); // a recording is played: one voice at a time

showListening();
count();
