// Keeps an open page up to date: it listens to what changed, and draws the parts that change anew.
"use strict";

(() => {
  const PAUSE = 400; // milliseconds between two drawings at least
  const RETRY = 1000;
  const watch = document.body.dataset.watch;
  const sign = document.getElementById("link-state");
  if (!watch) return;

  const [kind, id] = watch.split(":");
  let source = null;
  let beat = 5;
  let silence = null;
  let again = null;
  let drawing = false;
  let wanted = false;
  let drawnAt = 0;
  let skew = Date.parse(document.getElementById("drawn").dateTime) - Date.now();

  function say(state, text) {
    if (sign.dataset.state === state && sign.textContent === text) return;
    sign.dataset.state = state;
    sign.textContent = text;
  }

  // Listening

  function listen() {
    if (source || document.hidden) return;
    const url = new URL("/events", location.href);
    if (id) url.searchParams.set(kind, id);
    source = new EventSource(url);
    source.addEventListener("hello", (event) => {
      beat = JSON.parse(event.data).beat_seconds;
      heard();
      draw();
    });
    source.addEventListener("beat", () => heard());
    source.addEventListener("change", (event) => {
      heard();
      if (concerns(JSON.parse(event.data))) draw();
    });
    source.addEventListener("away", (event) => {
      heard();
      say("lost", `Not up to date: ${JSON.parse(event.data).reason}`);
    });
    source.onerror = () => lost();
    expectBeat();
  }

  function heard() {
    say("live", "Live");
    expectBeat();
  }

  function expectBeat() {
    clearTimeout(silence);
    silence = setTimeout(lost, 3 * beat * 1000);
  }

  function lost() {
    hush();
    const since = new Date(Date.now() + skew).toISOString().slice(11, 19);
    if (sign.dataset.state !== "lost") say("lost", `Disconnected since ${since}; trying again`);
    clearTimeout(again);
    again = setTimeout(listen, RETRY);
  }

  function hush() {
    clearTimeout(silence);
    if (source) source.close();
    source = null;
  }

  function concerns(change) {
    if (change.everything || kind === "any") return true;
    const changed = kind === "operation" ? change.operations : change.volumes;
    return changed.includes(id);
  }

  // Drawing

  function draw() {
    wanted = true;
    if (drawing) return;
    drawing = true;
    setTimeout(fetchAndReplace, Math.max(0, drawnAt + PAUSE - Date.now()));
  }

  async function fetchAndReplace() {
    wanted = false;
    drawnAt = Date.now();
    try {
      const answer = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
      if (answer.ok) replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
      else if (answer.status === 404) say("lost", "It is not there any more");
    } catch {
      lost();
    }
    drawing = false;
    if (wanted) draw();
  }

  function replace(fresh) {
    const told = verdict(document);
    for (const part of fresh.querySelectorAll("[data-live]")) {
      const old = document.getElementById(part.id);
      if (old && drawingOf(old) !== drawingOf(part)) swap(old, part);
    }
    skew = Date.parse(document.getElementById("drawn").dateTime) - Date.now();
    document.title = fresh.title;
    const tells = verdict(document);
    if (told !== tells) say("live", `Live: now ${tells}`);
    tick();
  }

  // What is drawn, without the times that go on by themselves: who reads or selects is not disturbed.
  function drawingOf(part) {
    const copy = part.cloneNode(true);
    for (const each of copy.querySelectorAll("time[data-span]")) each.textContent = "";
    for (const each of copy.querySelectorAll("details")) each.removeAttribute("open");
    return copy.innerHTML;
  }

  function verdict(page) {
    const found = page.querySelector("#verdict .state");
    return found ? found.textContent.replace(/^\W+/u, "").trim() : "";
  }

  // Focus, scrolled tables and opened details stay as they are.
  function swap(old, part) {
    const focused = old.contains(document.activeElement) ? spot(old, document.activeElement) : null;
    const opened = [...old.querySelectorAll("details[open]")].map((each) => each.id);
    const scrolled = [...old.querySelectorAll(".wide")].map((each) => each.scrollLeft);
    old.replaceChildren(...document.importNode(part, true).childNodes);
    if (part.dateTime) old.dateTime = part.dateTime;
    for (const name of opened) document.getElementById(name)?.setAttribute("open", "");
    old.querySelectorAll(".wide").forEach((each, n) => { each.scrollLeft = scrolled[n] ?? 0; });
    if (focused) focusOn(old, focused);
  }

  const CAN_FOCUS = "a[href], summary, [tabindex]";

  function spot(part, element) {
    const alike = [...part.querySelectorAll(CAN_FOCUS)];
    const href = element.getAttribute("href");
    const same = alike.filter((each) => each.getAttribute("href") === href);
    return { href, nth: same.indexOf(element) };
  }

  function focusOn(part, { href, nth }) {
    const same = [...part.querySelectorAll(CAN_FOCUS)].filter(
      (each) => each.getAttribute("href") === href,
    );
    const target = same[nth] ?? same[0] ?? document.getElementById("main");
    target.focus({ preventScroll: true });
  }

  // Times go on by themselves.

  function span(milliseconds) {
    const seconds = Math.abs(milliseconds) / 1000;
    for (const [unit, length] of [["d", 86400], ["h", 3600], ["m", 60]]) {
      if (seconds >= length) return `${Math.floor(seconds / length)}${unit}`;
    }
    return `${Math.floor(seconds)}s`;
  }

  function tick() {
    const now = Date.now() + skew;
    for (const each of document.querySelectorAll("time[data-span]")) {
      const away = now - Date.parse(each.dateTime);
      const text = away >= 0 ? `${span(away)} ago` : `in ${span(away)}`;
      if (each.textContent !== text) each.textContent = text;
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      hush();
      clearTimeout(again);
    } else {
      listen();
    }
  });
  addEventListener("pagehide", hush);
  addEventListener("pageshow", listen);
  setInterval(tick, 1000);
  say("none", "Connecting");
  listen();
})();
