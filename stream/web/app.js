/** The demo shop's help page: events out, proactive prompts in, outcomes back. */
import { follow, post, randomId } from "./gateway.js";
import { WORDS, filled } from "./words.js";

const TENANT = "demo";
const KEPT_DECISIONS = 40;
const byId = (id) => document.getElementById(id);
const stored = (name, fallback) => localStorage.getItem(`rgalign.${name}`) ?? fallback;
const store = (name, value) => localStorage.setItem(`rgalign.${name}`, value);

let locale = stored("locale", navigator.language.startsWith("es") ? "es" : "en");
let user = stored("shopper", "") || newShopper();
let order = stored("order", "");
let slate = null;
let stop = () => {};
const words = () => WORDS[locale];

function newShopper() {
  const name = `shopper-${randomId().slice(0, 6)}`;
  store("shopper", name);
  store("order", "");
  return name;
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/* ---- what the shopper does ---- */

const placed = () => {
  order = `FF-${Math.floor(10000 + Math.random() * 90000)}`;
  store("order", order);
  return [["order_placed", { order_id: order, amount: 64.9, currency: "EUR" }],
    ["order_status_changed", { order_id: order, order_status: "in_transit" }]];
};
const ofOrder = (type, more = {}) => [...(order ? [] : placed()), [type, { order_id: order, ...more }]];

const ACTIONS = {
  buy: {
    cart: () => [["cart_updated", { quantity: 2, amount: 64.9, currency: "EUR" }]],
    checkout: () => [["checkout_started", { amount: 64.9, currency: "EUR" }], ["page_viewed", { page: "checkout" }]],
    payment_failed: () => [["payment_failed", { method: "card", error: "card declined", amount: 64.9, currency: "EUR" }]],
    voucher: () => [["voucher_rejected", { voucher: "SPRING10", error: "expired" }]],
  },
  order: {
    place: placed,
    order: () => ofOrder("page_viewed", { page: "order" }),
    delayed: () => ofOrder("parcel_delayed", { delay_days: 3, carrier: "Swift Parcel" }),
    delivered: () => ofOrder("order_status_changed", { order_status: "delivered" }),
    return: () => ofOrder("return_requested"),
  },
  look: {
    home: () => [["page_viewed", { page: "home" }]],
    help: () => [["help_page_opened", {}]],
    account: () => [["page_viewed", { page: "account" }]],
    sign_in: () => [["sign_in_failed", { error: "wrong password" }]],
  },
};

async function tell(label, events) {
  const time = new Date().toISOString();
  const items = events.map(([type, data]) => ({ id: randomId(), type, time, tenant: TENANT, user, locale, source: "/demo-page", data }));
  try {
    await post("/v1/events", items, () => notice(words().retrying, "bad"));
    notice(filled(words().sent, label));
  } catch (error) {
    notice(filled(words().failed, error.message), "bad");
  }
}

function notice(text, state = "good") {
  byId("notice").textContent = text;
  byId("notice").dataset.state = state;
}

function drawActions() {
  byId("actions").replaceChildren(...Object.entries(ACTIONS).map(([group, actions]) => {
    const buttons = Object.entries(actions).map(([name, events]) => {
      const label = words().actions[name];
      const button = element("button", { type: "button", class: "action" }, label);
      button.addEventListener("click", () => tell(label, events()));
      return button;
    });
    return element("div", { class: "group" }, element("h3", {}, words().groups[group]), element("div", {}, ...buttons));
  }));
}

function onSay(id, type, field) {
  byId(id).addEventListener("submit", (event) => {
    event.preventDefault();
    const input = event.target.elements.text;
    tell(input.value, [[type, { [field]: input.value }]]);
    input.value = "";
  });
}

/* ---- what the shop asks ---- */

function outcomes(decision, kind, prompts) {
  const time = new Date().toISOString();
  const items = prompts.map((prompt) => ({
    id: `${decision.decision_id}:${kind}:${prompt?.intent_id ?? "slate"}`, decision_id: decision.decision_id, kind, time,
    tenant: decision.tenant, user: decision.user, intent_id: prompt?.intent_id, position: prompt?.position,
  }));
  if (items.length) post("/v1/outcomes", items).catch((error) => notice(filled(words().failed, error.message), "bad"));
}

/** The prompts of one decision on the page; it tells what was seen once the shopper really could see it. */
class Slate {
  constructor(decision) {
    this.decision = decision;
    this.left = new Map(decision.prompts.map((prompt) => [prompt.intent_id, prompt]));
    this.unseen = new Set(decision.prompts);
    this.list = element("ul", {}, ...decision.prompts.map((prompt) => this.chip(prompt)));
    const none = element("button", { type: "button", class: "link none" }, words().none_of_these);
    none.addEventListener("click", () => this.dismiss([...this.left.values()]));
    this.view = element("div", { class: "slate" }, this.list, none, element("p", { class: "why" }, why(decision)));
    this.watcher = new IntersectionObserver((changes) => this.saw(changes), { threshold: 0.6 });
    [...this.list.children].forEach((chip) => this.watcher.observe(chip));
    this.timer = setTimeout(() => this.end(), decision.ttl_ms);
  }

  chip(prompt) {
    const ask = element("button", { type: "button", class: "ask", lang: prompt.locale }, prompt.text);
    const no = element("button", { type: "button", class: "no", "aria-label": filled(words().dismiss, prompt.text) }, "×");
    ask.addEventListener("click", () => this.click(prompt));
    no.addEventListener("click", () => this.dismiss([prompt]));
    const chip = element("li", { class: "chip", "data-intent": prompt.intent_id }, ask, no);
    chip.prompt = prompt;
    return chip;
  }

  saw(changes) {
    if (document.hidden || !this.unseen.size) return;
    for (const change of changes) if (change.isIntersecting) this.unseen.delete(change.target.prompt);
    if (!this.unseen.size) outcomes(this.decision, "shown", [null]);
  }

  /** Tells of a slate that was seen only in part, prompt by prompt. */
  tellSeenPart(also) {
    const seen = this.decision.prompts.filter((prompt) => !this.unseen.has(prompt) || also.includes(prompt));
    if (this.unseen.size) outcomes(this.decision, "shown", seen);
    this.unseen.clear();
  }

  click(prompt) {
    this.tellSeenPart([prompt]);
    outcomes(this.decision, "clicked", [prompt]);
    this.remove(prompt);
    thank(filled(words().thanks, prompt.text));
  }

  dismiss(prompts) {
    this.tellSeenPart(prompts);
    outcomes(this.decision, "dismissed", prompts);
    prompts.forEach((prompt) => this.remove(prompt));
    thank(words().dismissed);
  }

  remove(prompt) {
    this.left.delete(prompt.intent_id);
    this.list.querySelector(`[data-intent="${CSS.escape(prompt.intent_id)}"]`)?.remove();
    if (!this.left.size) this.end();
  }

  /** Whether this is the slate of that decision, and nothing of it was taken away: a late answer may replace it. */
  isUntouched(decisionId) {
    return this.decision.decision_id === decisionId && this.left.size === this.decision.prompts.length;
  }

  end() {
    this.tellSeenPart([]);
    clearTimeout(this.timer);
    this.watcher.disconnect();
    this.view.remove();
    if (slate === this) slate = null;
    byId("empty").hidden = slate !== null || !byId("thanks").hidden;
  }
}

function thank(text) {
  byId("thanks").textContent = text;
  byId("thanks").hidden = false;
  byId("empty").hidden = true;
  byId("thanks").focus({ preventScroll: true });
}

const plain = (slug) => slug.replaceAll("_", " ");
const reasonOf = (decision) => words().reasons[decision.reason] ?? plain(decision.reason);

function why(decision, reason = ` · ${reasonOf(decision)}`) {
  const { state, age_ms: age } = decision.embedding;
  const trigger = words().triggers[decision.trigger_type] ?? plain(decision.trigger_type);
  const query = state === "null" ? words().none : `${words()[state]} (${filled(words().made, (age / 1000).toFixed(1))})`;
  return filled(words().because, trigger, reason, decision.versions.model, query, Math.round(decision.latency_ms));
}

function onDecision(decision) {
  logDecision(decision);
  const isOver = Date.now() - Date.parse(decision.made_at) > decision.ttl_ms;
  if (decision.decision !== "show" || isOver || !decision.prompts.length) return;
  if (decision.refines && !slate?.isUntouched(decision.refines)) return;
  slate?.end();
  slate = new Slate(decision);
  byId("thanks").hidden = true;
  byId("empty").hidden = true;
  byId("prompts").append(slate.view);
  byId("help").scrollIntoView({ block: "nearest" });
}

function logDecision(decision) {
  const made = new Date(decision.made_at);
  const time = element("time", { datetime: decision.made_at }, made.toLocaleTimeString(locale));
  const said = element("span", {}, element("strong", {}, words()[decision.decision]), ` · ${reasonOf(decision)}`);
  const line = element("li", { "data-decision": decision.decision }, time, said, element("small", {}, why(decision, "")));
  byId("decisions").prepend(line);
  while (byId("decisions").children.length > KEPT_DECISIONS) byId("decisions").lastChild.remove();
}

/* ---- who and how ---- */

function showState(state) {
  byId("connection").dataset.state = state;
  byId("connection").textContent = words()[state];
}

function become(name) {
  user = name;
  byId("shopper").textContent = name;
  slate?.end();
  byId("thanks").hidden = true;
  byId("empty").hidden = false;
  byId("decisions").replaceChildren();
  stop();
  stop = follow(TENANT, user, onDecision, showState);
}

function speak(chosen) {
  locale = chosen;
  store("locale", chosen);
  document.documentElement.lang = chosen;
  document.querySelectorAll("[data-text]").forEach((node) => { node.textContent = words()[node.dataset.text]; });
  document.querySelectorAll("[data-hint]").forEach((node) => { node.placeholder = words()[node.dataset.hint]; });
  document.querySelectorAll("[data-locale]").forEach((node) => node.setAttribute("aria-pressed", node.dataset.locale === chosen));
  showState(byId("connection").dataset.state);
  notice("");
  drawActions();
}

document.querySelectorAll("[data-locale]").forEach((node) => node.addEventListener("click", () => speak(node.dataset.locale)));
byId("new-shopper").addEventListener("click", () => { order = ""; become(newShopper()); });
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && slate) for (const chip of slate.list.children) { slate.watcher.unobserve(chip); slate.watcher.observe(chip); }
});
onSay("search", "searched", "query");
onSay("chat", "chat_opened", "text");
speak(locale);
become(user);
