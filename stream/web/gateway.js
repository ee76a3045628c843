/** The gateway's three calls: post events, post outcomes, follow the stream of decisions. */

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** A random id that also works where crypto.randomUUID does not (plain http on another host). */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Posts items under their own ids; tries again while the log is away, which those ids make safe. */
export async function post(path, items, onRetry) {
  for (let attempt = 1; ; attempt += 1) {
    const last = attempt === 5;
    const reply = await fetch(path, {
      method: "POST", keepalive: true, headers: { "Content-Type": "application/json" }, body: JSON.stringify(items),
    }).catch((error) => { if (last) throw error; return null; });
    if (reply?.ok) return reply.json();
    if (reply && (reply.status !== 503 || last)) {
      throw new Error((await reply.json().catch(() => ({ detail: reply.statusText }))).detail);
    }
    onRetry?.();
    await pause(1000 * Number(reply?.headers.get("Retry-After") ?? attempt));
  }
}

/** Follows a shopper's decisions until the returned function is called; resumes after what was last received. */
export function follow(tenant, user, onDecision, onState) {
  let source, timer, last = "";
  const open = () => {
    const query = new URLSearchParams({ tenant, user });
    if (last) query.set("after", last);
    onState("waiting");
    source = new EventSource(`/v1/stream?${query}`);
    source.addEventListener("hello", () => onState("live"));
    source.addEventListener("decision", (event) => {
      last = event.lastEventId;
      onDecision(JSON.parse(event.data));
    });
    source.onerror = () => {
      onState("away");
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, 2000);
    };
  };
  open();
  return () => { clearTimeout(timer); source.close(); };
}
