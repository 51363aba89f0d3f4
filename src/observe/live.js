"use strict";
// Shows a run from server-sent events, and sends the user's commands. The token is in the address after "#", which no
// server sees; it is removed from there at once and kept only in memory.
(() => {
  const get = (id) => document.getElementById(id);
  const number = new Intl.NumberFormat("en");
  const over = ["completed", "completed_with_failures", "interrupted", "stopped"];

  let token = "";
  let now = null;
  let ended = false;
  // Times and counts, from which the rate is computed.
  let looks = [];

  function takeToken() {
    const asked = new URLSearchParams(location.hash.slice(1));
    token = asked.get("token") || token;
    asked.delete("token");
    history.replaceState(null, "", location.pathname + (asked.size ? "#" + asked : ""));
  }

  function ask(refused) {
    get("control").hidden = true;
    get("door").hidden = false;
    get("refused").textContent = refused;
    get("token").focus();
  }

  // --- events ---

  async function listen() {
    while (!ended) {
      try {
        const answer = await fetch("live/events", { headers: { Authorization: "Bearer " + token }, cache: "no-store" });
        if (answer.status === 401 || answer.status === 403) {
          return ask(token ? await answer.text() : "");
        }
        if (!answer.ok) throw new Error(await answer.text());
        get("door").hidden = true;
        get("control").hidden = false;
        get("link").textContent = "";
        await read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
      } catch (error) {
        console.debug(error);
      }
      if (ended) break;
      if (now) get("link").textContent = "the run does not respond, retrying";
      await new Promise((done) => setTimeout(done, 2000));
    }
  }

  async function read(reader) {
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const fields = { event: "message", data: "" };
        for (const line of block.split("\n")) {
          const at = line.indexOf(":");
          if (at > 0) fields[line.slice(0, at)] = line.slice(at + 1).replace(/^ /, "");
        }
        handle(fields);
      }
    }
  }

  function handle({ event, data }) {
    if (event === "now") show(JSON.parse(data));
    if (event === "snapshot") paint(JSON.parse(data));
    if (event === "end") {
      ended = true;
      get("link").textContent = "the run has ended; this page is final";
    }
  }

  // The server has escaped the content, and the policy runs no script in it.
  function paint(snapshot) {
    const held = document.activeElement?.matches("#snapshot input") ? document.activeElement : null;
    const [value, from, to] = held ? [held.value, held.selectionStart, held.selectionEnd] : [];
    const open = [...document.querySelectorAll("#snapshot details")].map((one) => one.open);
    get("snapshot").innerHTML = snapshot;
    document.querySelectorAll("#snapshot details").forEach((one, place) => { one.open = open[place] ?? one.open; });
    document.dispatchEvent(new Event("page:changed"));
    const field = held && document.querySelector("#snapshot input");
    if (field) {
      field.focus();
      field.value = value;
      field.setSelectionRange(from, to);
    }
  }

  function duration(seconds) {
    const whole = Math.round(seconds);
    if (whole < 120) return `${whole} s`;
    if (whole < 7200) return `${Math.round(whole / 60)} min`;
    return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
  }

  function show(told) {
    now = told;
    const { tokens, rate } = now;
    const settled = tokens.committed + tokens.failed + tokens.superseded + tokens.unchanged;
    const expected = Math.max(now.expected ?? 0, tokens.selected);
    get("state").textContent = now.badge.words;
    get("state").className = "status " + now.badge.tone;
    write(get("note"), note());
    document.title = `${now.badge.words}: ${now.migration}`;

    looks.push([performance.now() / 1000, settled]);
    looks = looks.filter(([at]) => at > performance.now() / 1000 - 20);
    const [first, last] = [looks[0], looks[looks.length - 1]];
    const pace = last[0] - first[0] > 2 ? (last[1] - first[1]) / (last[0] - first[0]) : null;
    const isOver = over.includes(now.state);
    // For a migration, the expected number is the planner's estimate.
    const about = now.mode === "verify" || expected === tokens.selected ? "" : "about ";
    get("done").hidden = !expected;
    get("done").max = expected;
    get("done").value = settled;
    get("tokens").textContent = now.expected === null || isOver
      ? number.format(settled) : `${number.format(settled)} of ${about}${number.format(expected)}`;
    get("failed").textContent = number.format(tokens.failed);
    get("failed").closest(".figure").classList.toggle("failed", tokens.failed > 0);
    get("pace").textContent = pace === null || isOver ? "–" : number.format(Math.round(pace * 10) / 10);
    get("left").textContent = pace && expected && now.state === "running" ? duration((expected - settled) / pace) : "–";
    get("requests").textContent = number.format(now.requests);
    get("flight").textContent = number.format(now.in_flight);
    get("latency").textContent = now.latency_ms === null ? "–" : `${number.format(now.latency_ms)} ms`;

    get("per").textContent = duration(rate.per_s);
    get("rate").max = rate.configured;
    if (document.activeElement !== get("rate")) get("rate").value = rate.requests;
    get("pause").textContent = now.paused ? "Resume" : "Pause";
    const still = isOver || now.state === "stopping";
    // A dry run sends nothing that could be paused.
    for (const id of ["pause", "slow"]) get(id).hidden = still || now.mode === "dry_run";
    get("full").hidden = rate.requests === rate.configured;
    get("stop").hidden = still;
    if (still) get("said").textContent = "";
  }

  // Shows what is between two backticks as code.
  function write(element, text) {
    if (element.dataset.text === text) return;
    element.dataset.text = text;
    element.replaceChildren(...text.split("`").map((part, place) => {
      if (place % 2 === 0) return part;
      const code = document.createElement("code");
      code.textContent = part;
      return code;
    }));
  }

  function note() {
    const { rate } = now;
    if (now.state === "held") return `${duration(now.held_s)}: the API asked for it`;
    if (now.state === "paused") return "nothing is sent until it is resumed; requests in flight finish";
    if (now.state === "stopping") return `requests in flight finish (${now.stop_reason ?? "unknown reason"})`;
    if (over.includes(now.state)) return [now.stop_reason, now.next].filter(Boolean).join("; ");
    if (rate.requests < rate.configured) {
      return `slowed down to ${rate.requests} of ${rate.configured} requests per ${duration(rate.per_s)}`;
    }
    return "";
  }

  // --- commands ---

  async function order(what, body) {
    try {
      const answer = await fetch("live/" + what, {
        method: "POST",
        headers: { Authorization: "Bearer " + token, "Content-Type": "application/json" },
        body: body && JSON.stringify(body),
      });
      get("said").textContent = answer.ok ? "" : await answer.text();
    } catch {
      get("said").textContent = "The run did not respond: nothing was changed.";
    }
  }

  get("pause").addEventListener("click", () => order(now.paused ? "resume" : "pause"));
  get("slow").addEventListener("submit", (event) => {
    event.preventDefault();
    get("rate").blur();
    order("rate", { requests: get("rate").valueAsNumber });
  });
  get("full").addEventListener("click", () => order("rate", { requests: now.rate.configured }));

  // A second press within a few seconds stops it.
  let doubt = 0;
  get("stop").addEventListener("click", () => {
    const stop = get("stop");
    clearTimeout(doubt);
    if (stop.classList.toggle("sure")) {
      stop.textContent = "Really stop?";
      get("said").textContent = "Requests in flight finish and are recorded.";
      doubt = setTimeout(() => {
        stop.classList.remove("sure");
        stop.textContent = "Stop";
        get("said").textContent = "";
      }, 6000);
    } else {
      stop.textContent = "Stop";
      order("stop");
    }
  });

  get("door").querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = get("token").value.trim();
    get("token").value = "";
    listen();
  });

  takeToken();
  if (token) listen(); else ask("");
})();
