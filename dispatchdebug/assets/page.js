"use strict";
// Brings the page up to date from the documents of the stream, without knowing what is
// on it: the bindings in page.html say which text comes from where. Nothing is ever
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
	const listLink = (query, sort, page) => {
		const p = {};
		if (page > 1) p.page = page;
		if (query) p.q = query;
		if (sort && sort !== "name") p.sort = sort;
		return address(p);
	};
	const suspicions = { stuck: "rejected", waiting: "pending", behind: "queued", nobody: "canceled", dropped: "gone" };

	let root = null; // the document that the page shows
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
		evidence: s => s.call ? callLink(s.call) : topicLink(s.topic || ""),
		waited: w => w.running_ns < 0 ? w.state : duration(w.running_ns),
		types: t => t.request + " → " + t.result,
		remembered: k => "#" + k.id + ", " + k.reason + ", " + duration(k.age_ns) + " ago",
		nothing_found: l => l.total > 0 && l.matching === 0,
		paged: l => l.pages > 1,
		has_previous: l => l.page > 1,
		has_next: l => l.page < l.pages,
		previous: l => listLink(l.query, l.sort, l.page - 1),
		next: l => listLink(l.query, l.sort, l.page + 1),
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

	// patchList keeps the elements of what is there still, and so focus and selection.
	const patchList = (el, items) => {
		const key = el.dataset.key, byKey = new Map();
		if (key) for (const child of el.children) byKey.set(child.dataset.k, child);
		items.forEach((item, i) => {
			const there = el.children[i];
			let child = key ? byKey.get(String(item[key])) : there;
			if (child) {
				byKey.delete(String(item[key]));
			} else {
				child = blank(el.dataset.template);
				if (key) child.dataset.k = item[key];
			}
			if (child !== there) el.insertBefore(child, there || null);
			patch(child, item);
		});
		while (el.children.length > items.length) el.lastElementChild.remove();
	};
	const blank = id => {
		const content = document.getElementById(id).content.firstElementChild;
		// What belongs into a drawing is served inside one, or it would not be parsed as such.
		const row = content.localName === "svg" ? content.firstElementChild : content;
		return document.importNode(row, true);
	};

	const live = document.getElementById("live"), button = document.getElementById("pause");
	let source = null, paused = false, frame = 0, newest = null;
	const say = (state, text) => {
		live.dataset.live = state;
		const words = live.firstChild;
		if (words.data !== text) words.data = text;
	};
	const show = () => {
		frame = 0;
		root = newest;
		patch(document.body, root);
		document.documentElement.dataset.updates = Number(document.documentElement.dataset.updates || 0) + 1;
	};
	const open = () => {
		if (source || paused || document.hidden) return;
		source = new EventSource("events" + location.search);
		source.onmessage = event => {
			newest = JSON.parse(event.data);
			say("live", "live, ");
			frame ||= requestAnimationFrame(show);
		};
		source.onerror = () => say("lost", "no connection since ");
	};
	const close = () => {
		source?.close();
		source = null;
	};
	button.hidden = false;
	button.addEventListener("click", () => {
		paused = !paused;
		button.textContent = paused ? "Resume" : "Pause";
		if (paused) {
			close();
			say("paused", "paused at ");
		} else {
			open();
		}
	});
	document.addEventListener("visibilitychange", () => document.hidden ? close() : open());
	addEventListener("pagehide", close);
	addEventListener("pageshow", open);

	// Searching needs no button: the stream is asked for what is wanted now.
	const search = document.getElementById("search");
	if (search) {
		const box = search.elements.q, url = new URLSearchParams(location.search);
		let typing = 0;
		const find = () => {
			const sort = url.get("sort");
			history.replaceState(null, "", listLink(box.value, sort, 1));
			for (const a of document.querySelectorAll("a[data-sort]")) a.setAttribute("href", listLink(box.value, a.dataset.sort, 1));
			close();
			paused = false;
			button.textContent = "Pause";
			open();
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
