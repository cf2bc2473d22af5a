"use strict";
// Brings the page up to date from the documents of the stream, without knowledge of its
// content: the bindings in page.html say which text comes from where. Nothing is ever
// parsed as HTML.
(() => {
	const unit = { ns: 1, us: 1e3, ms: 1e6, s: 1e9 };
	const fraction = (n, of) => String(Math.floor(n / of)) + ("." + String(n % of + of).slice(1)).replace(/\.?0+$/, "");
	const digits = (d, u, name) => {
		const within = parts => Math.floor((d * parts + u / 2) / u);
		if (within(100) < 1000) return fraction(within(100), 100) + " " + name;
		if (within(10) < 1000) return fraction(within(10), 10) + " " + name;
		return within(1) + " " + name;
	};
	const pair = (n, big, m, small) => n + " " + big + (m > 0 ? " " + m + " " + small : "");
	const percent = v => (v * 100).toFixed(4) + "%";
	const count = n => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
	const duration = d => {
		if (d < 0) return "–";
		if (d === 0) return "0";
		if (d < unit.us) return d + " ns";
		if (d < 999500) return digits(d, unit.us, "µs");
		if (d < 999500 * unit.us) return digits(d, unit.ms, "ms");
		if (d < 59950 * unit.ms) return digits(d, unit.s, "s");
		const s = Math.floor((d + unit.s / 2) / unit.s);
		if (s < 3600) return pair(Math.floor(s / 60), "min", s % 60, "s");
		if (s < 86400) return pair(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "min");
		return pair(Math.floor(s / 86400), "d", Math.floor(s % 86400 / 3600), "h");
	};
	const share = v => {
		const tenths = Math.floor(v * 1000 + 0.5);
		if (v < 0) return "–";
		if (v === 0) return "0";
		if (tenths < 1) return "< 0.1 %";
		if (tenths < 100) return fraction(tenths, 10) + " %";
		return Math.floor((tenths + 5) / 10) + " %";
	};
	const address = parameters => "?" + new URLSearchParams(parameters);
	const topicLink = name => address({ topic: name });
	const callLink = id => address({ call: id });
	// The address of this page with other parameters; empty parameters are left out.
	const changed = changes => {
		const p = new URLSearchParams(location.search);
		for (const [name, value] of Object.entries(changes)) value ? p.set(name, value) : p.delete(name);
		p.sort();
		return "?" + p;
	};
	const suspicions = {
		stuck: "rejected", silent: "rejected", waiting: "pending", producers: "pending", behind: "queued", queue: "queued", places: "queued",
		delaying: "late", nobody: "canceled", dropped: "gone",
	};
	const latency = (d, more) => (more ? "> " : "") + duration(d);

	const bars = list => {
		const most = Math.max(...list);
		return list.map((n, i) => {
			const h = Math.max(Math.floor(n / most * 14 + 0.5), 1);
			return n > 0 ? "M" + 4 * i + " 14v-" + h + "h3v" + h + "z" : "";
		}).join("");
	};
	const figures = (list, text) => "last minute, each 5 s: " + list.map(text).join(" · ");

	let root = null; // the document that the page shows

	// How many suspects can be seen without scrolling: two, or as many as are served, up to four.
	const served = document.querySelectorAll(".slots .suspect").length;
	const inSight = served > 8 ? Infinity : Math.min(Math.max(served, 2), 4);
	const formats = {
		duration, share, percent, count,
		bytes: n => n < 1 << 20 ? count((n + 1023) >> 10) + " KiB" : fraction(Math.floor(n * 10 / (1 << 20)), 10) + " MiB",
		clock: t => t.slice(11, 19),
		short: t => t.replace(/[^\s[\](){}*,]+\//g, ""),
		place: s => s.split("/").slice(-2).join("/"),
		scale: d => percent(root.call.scale_ns > 0 ? d / root.call.scale_ns : 0),
		symbol: state => "#s-" + state,
		suspicion: kind => suspicions[kind] || kind,
		topic: topicLink,
		call: callLink,
		evidence: s => s.call ? callLink(s.call) : s.topic ? topicLink(s.topic) : "#elsewhere",
		waited: w => w.running_ns < 0 ? w.state : duration(w.running_ns),
		types: t => t.request ? t.request + " → " + t.result : "",
		remembered: k => "#" + k.id + ", " + k.reason,
		p50: l => latency(l.p50_ns, l.p50_more),
		p99: l => latency(l.p99_ns, l.p99_more),
		max: l => latency(l.max_ns, l.max_more),
		others: s => {
			const n = s.also.length + s.more_also;
			return n === 0 || s.kind === "silent" ? "" : n === 1 ? "and " + s.also[0] : "and " + count(n) + " others";
		},
		beyond: d => d.more_suspects + Math.max(d.suspects.length - inSight, 0),
		join: list => list.join(", "),
		updates: n => n === 1 ? "1 update was" : count(n) + " updates were",
		in_all: n => count(n) + " in all",
		count_all: list => count(list.length),
		bars,
		text_runs: list => figures(list, count),
		text_failed: list => figures(list, count),
		text_p99: list => figures(list, duration),
		has_budget: c => c.budget_ns >= 0,
		no_member: t => t.members.length === 0 && !t.query,
		no_member_found: t => t.members.length === 0 && t.query,
		nothing_found: l => l.total > 0 && l.matching === 0,
		paged: l => l.pages > 1,
		has_previous: l => l.page > 1,
		has_next: l => l.page < l.pages,
		previous: l => changed({ page: l.page > 2 ? l.page - 1 : "" }),
		next: l => changed({ page: l.page + 1 }),
	};

	const parsed = new Map();
	const read = (value, binding) => {
		let b = parsed.get(binding);
		if (!b) {
			const [path, ...names] = binding.split("|");
			b = { path: path === "." ? [] : path.split("."), names };
			parsed.set(binding, b);
		}
		for (const key of b.path) value = value?.[key];
		for (const name of b.names) value = formats[name](value);
		return value;
	};
	const isEmpty = v => !v || v.length === 0;

	const patch = (el, value) => {
		const b = el.dataset;
		if (b.with !== undefined) {
			value = read(value, b.with);
			if (value === undefined) return;
		}
		if (b.show !== undefined) el.toggleAttribute("hidden", isEmpty(read(value, b.show)));
		if (b.hide !== undefined) el.toggleAttribute("hidden", !isEmpty(read(value, b.hide)));
		if (b.attr !== undefined) {
			for (const pair of b.attr.split(";")) {
				const colon = pair.indexOf(":");
				const name = pair.slice(0, colon), text = String(read(value, pair.slice(colon + 1)) ?? "");
				if (el.getAttribute(name) !== text) el.setAttribute(name, text);
			}
		}
		if (b.text !== undefined) {
			const text = String(read(value, b.text) ?? "");
			if (el.textContent !== text) el.textContent = text;
		} else if (b.list !== undefined) {
			patchList(el, read(value, b.list) || []);
		} else {
			for (let child = el.firstElementChild; child; child = child.nextElementSibling) patch(child, value);
		}
	};

	// Items with equal keys, such as a producer and a group of one name, are told apart by their order.
	const unique = () => {
		const seen = new Map();
		return key => {
			const n = seen.get(key) || 0;
			seen.set(key, n + 1);
			return n > 0 ? key + "\0" + n : key;
		};
	};

	// patchList keeps the elements of items that remain, and moves as few elements as it can: a moved
	// element loses focus and selection. While the pointer or the focus is in the list, its
	// rows keep their order.
	const patchList = (el, items) => {
		const key = el.dataset.key;
		if (el.dataset.slots !== undefined) items = arrange(el, key, items);
		if (!key || el.dataset.slots !== undefined) {
			while (el.children.length > items.length) el.lastElementChild.remove();
			items.forEach((item, i) => patch(el.children[i] || el.appendChild(blank(el.dataset.template)), item));
			return;
		}
		const keyOf = new Map(), own = unique(), rowKey = unique(), there = new Map();
		for (const item of items) keyOf.set(item, own(String(item[key])));
		const wanted = new Set(keyOf.values());
		for (const child of [...el.children]) {
			const k = rowKey(child.dataset.k);
			if (wanted.has(k)) there.set(k, child);
			else child.remove();
		}
		if (isHeld(el)) {
			const place = new Map([...there.keys()].map((k, i) => [k, i]));
			items = [...items].sort((a, b) => (place.get(keyOf.get(a)) ?? Infinity) - (place.get(keyOf.get(b)) ?? Infinity) || 0);
		}
		let next = el.firstElementChild;
		for (const item of items) {
			let child = there.get(keyOf.get(item));
			if (!child) {
				child = blank(el.dataset.template);
				child.dataset.k = String(item[key]);
			}
			if (child === next) {
				next = next.nextElementSibling;
			} else {
				el.insertBefore(child, next);
			}
			patch(child, item);
		}
	};
	// Lists that change all the time have slots: an old item keeps its slot, a new item gets a free
	// slot, and only then the last items move up. So no row moves; its texts change.
	// An item that is gone keeps its slot while the pointer or the focus is in the list, and is marked.
	const arrange = (el, key, items) => {
		const fresh = new Map(items.map(item => [item[key], item])), pointed = isHeld(el);
		const list = (el.arranged || []).map(item => {
			const now = fresh.get(item[key]);
			fresh.delete(item[key]);
			return now || (pointed ? { ...item, gone: true } : null);
		});
		for (const item of fresh.values()) {
			const free = list.indexOf(null);
			if (free < 0) list.push(item);
			else list[free] = item;
		}
		for (let free = list.indexOf(null); free >= 0; free = list.indexOf(null)) {
			const last = list.pop();
			if (free < list.length) list[free] = last;
		}
		return el.arranged = list;
	};
	// After a touch, the element is hovered over until something else is touched.
	let touched = false;
	for (const type of ["pointerdown", "pointermove"]) addEventListener(type, event => touched = event.pointerType === "touch", true);
	const isHeld = el => !touched && el.matches(":hover") || el.contains(document.activeElement);

	// A suspect keeps its row for five seconds, also if it is none any more, and the rows are
	// sorted again at most that often.
	const holdFor = 5000, mostHeld = 8;
	let held = [], sorted = -Infinity;
	const hold = suspects => {
		const list = document.querySelector(".slots .suspects"), pointed = list && isHeld(list);
		const now = performance.now(), fresh = new Map(suspects.map(s => [s.key, s]));
		held = held.map(h => fresh.has(h.item.key) ? { item: fresh.get(h.item.key), seen: now } : h).filter(h => pointed || now - h.seen < holdFor);
		const known = new Set(held.map(h => h.item.key));
		for (const s of suspects) if (!known.has(s.key)) held.push({ item: s, seen: now });
		if (now - sorted >= holdFor && !pointed) {
			sorted = now;
			const place = new Map(suspects.map((s, i) => [s.key, i]));
			held.sort((a, b) => (place.get(a.item.key) ?? Infinity) - (place.get(b.item.key) ?? Infinity) || 0);
		}
		return held.slice(0, Math.max(mostHeld, suspects.length)).map(h => now - h.seen < holdFor ? h.item : { ...h.item, gone: true });
	};

	// The polite live region names the suspects when they change.
	const said = document.getElementById("said");
	let saidAt = -Infinity, saying = "";
	const announce = suspects => {
		const names = suspects.slice(0, 3).map(s => s.name).join(", ");
		if (!said || names === saying || performance.now() - saidAt < holdFor) return;
		if (saidAt > 0 || names) said.textContent = names ? "Suspected: " + names : "No suspects.";
		saidAt = performance.now();
		saying = names;
	};

	// The box of the suspects stays as high as it is served, so that the content below it stays
	// in its place.
	const box = document.querySelector(".slots");
	const settle = () => {
		if (!box || box.classList.contains("all")) return;
		box.style.height = "";
		box.style.height = box.offsetHeight + "px";
	};
	settle();
	addEventListener("resize", settle);

	const blank = id => {
		const content = document.getElementById(id).content.firstElementChild;
		// An element of a drawing is served inside an svg, so that it is parsed as an svg element.
		const row = content.localName === "svg" ? content.firstElementChild : content;
		return document.importNode(row, true);
	};

	const live = document.getElementById("live"), button = document.getElementById("pause");
	// The server sends something every 15 seconds. Without it for longer, the connection is broken, which a browser may not notice.
	const mostQuiet = 40000;
	let source = null, stopped = false, frame = 0, newest = null, wait = 1000, again = 0, quiet = 0;
	const say = (state, text) => {
		live.dataset.live = state;
		if (live.textContent !== text) live.textContent = text;
	};
	const show = () => {
		frame = 0;
		root = newest;
		root.suspects = hold(root.suspects || []);
		patch(document.body, root);
		announce(root.suspects);
		document.documentElement.dataset.updates = Number(document.documentElement.dataset.updates || 0) + 1;
	};
	const open = () => {
		if (source || stopped || document.hidden) return;
		clearTimeout(again);
		source = new EventSource("events" + location.search);
		source.onmessage = event => {
			const before = newest;
			newest = JSON.parse(event.data);
			wait = 1000;
			listen();
			if (isOther(before, newest)) {
				close();
				location.reload();
				return;
			}
			say("live", "live");
			frame ||= requestAnimationFrame(show);
		};
		source.addEventListener("ended", () => stop("ended", "the call has ended"));
		source.addEventListener("replaced", () => stop("paused", "too many pages are open"));
		// A browser does not reconnect after a response such as 502, and several browsers must not
		// reconnect at the same moment.
		source.onerror = lose;
		listen();
	};
	const lose = () => {
		say("lost", "no connection");
		close();
		again = setTimeout(open, wait * (0.75 + Math.random() / 2));
		wait = Math.min(wait * 2, 30000);
	};
	const listen = () => {
		clearTimeout(quiet);
		quiet = setTimeout(lose, mostQuiet);
	};
	// Only a part of the page is brought up to date. It has to be loaded again if the server was restarted, because
	// its calls have other numbers, and if a topic or call that was not known is known now.
	const began = doc => Date.parse(doc.now) - doc.page.recording_ns / 1e6;
	const isOther = (before, now) => before && Math.abs(began(now) - began(before)) > 1000 ||
		now.topic?.known && !document.getElementById("producers") || now.call?.known && !document.getElementById("waterfall");
	const close = () => {
		clearTimeout(again);
		clearTimeout(quiet);
		source?.close();
		source = null;
	};
	const stop = (state, text) => {
		stopped = true;
		close();
		button.textContent = "Resume";
		button.hidden = state === "ended";
		say(state, text);
	};
	const resume = () => {
		close();
		stopped = false;
		button.textContent = "Pause";
		button.hidden = false;
		open();
	};
	button.hidden = false;
	button.addEventListener("click", () => stopped ? resume() : stop("paused", "paused"));
	document.addEventListener("visibilitychange", () => document.hidden ? close() : open());
	addEventListener("pagehide", close);
	addEventListener("pageshow", open);

	const copy = document.getElementById("copy");
	if (copy && navigator.clipboard) {
		copy.hidden = false;
		copy.addEventListener("click", async () => {
			let text = "Copied";
			try {
				const answer = await fetch("data.json" + location.search);
				await navigator.clipboard.writeText(JSON.stringify((await answer.json()).call, null, "\t"));
			} catch {
				text = "Not copied";
			}
			copy.textContent = text;
			setTimeout(() => copy.textContent = "Copy as JSON", 2000);
		});
	}

	// Searching needs no button: the page asks the stream for the current search.
	const search = document.getElementById("search");
	if (search) {
		const box = search.elements.q;
		let typing = 0;
		const find = () => {
			history.replaceState(null, "", changed({ q: box.value, page: "" }));
			for (const a of document.querySelectorAll("a[data-only]")) a.setAttribute("href", changed({ only: a.dataset.only }));
			document.querySelector("footer a").setAttribute("href", "data.json" + location.search);
			for (const a of document.querySelectorAll("a[data-sort]")) a.setAttribute("href", changed({ sort: a.dataset.sort === "name" && !location.search.match(/topic=|call=/) ? "" : a.dataset.sort }));
			resume();
		};
		box.addEventListener("input", () => {
			clearTimeout(typing);
			typing = setTimeout(find, 150);
		});
		search.addEventListener("submit", event => {
			event.preventDefault();
			clearTimeout(typing);
			find();
		});
	}
	open();
})();
