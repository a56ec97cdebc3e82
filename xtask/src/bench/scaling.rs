//! The plan of the growth with size, on one Redis server. Its page has a table for each measure, the text around them,
//! and an example that is computed from the figures.

use crate::bench::figures::Figures;
use crate::bench::plan::{Page, Plan};
use crate::bench::scaling_example::example;
use crate::bench::table::number;

pub(crate) const SCALING: Plan = Plan {
    name: "scaling",
    binary: "bench_scaling",
    peers: true,
    measures: &["workers", "queues", "depth", "results", "payloads", "waiters", "slots"],
    runs: 1,
    page: "docs/SCALING.md",
    about: "How cost grows with size, on one private Redis server without persistence, on the machine of callers and \
            workers. Workers are processes of their own with late acknowledgement and 8 slots (`-c 8`), unless the table \
            says otherwise. The tasks do nothing. Each figure of a drain is taken between a tenth and nine tenths of its \
            messages. Commands inside scripts are counted, as Redis counts them; the server's time is the processor time \
            of its process, system included. On a machine where callers, workers and server share the processors, the \
            rates are those of all of them together; the server's time for one task is what carries over to another \
            machine.",
    content: Page::Sections(sections),
};

/// A column: its title, the end of the names of its figures, and its unit.
type Column = (&'static str, &'static str, &'static str);

const RATE: Column = ("tasks", "rate", "/s");
const COMMANDS: Column = ("commands for a task", "commands", "");
const SERVER: Column = ("server's time for a task", "server", "µs");
const NETWORK: Column = ("network for a task", "network", "bytes");

/// A table: the word for its sizes, the start of the names of its figures, its sizes and its columns.
struct Section {
    title: &'static str,
    size: &'static str,
    name: &'static str,
    sizes: &'static [u64],
    columns: &'static [Column],
    text: fn(&Figures) -> String,
}

const SECTIONS: &[Section] = &[
    Section {
        title: "Workers",
        size: "workers",
        name: "workers",
        sizes: &[1, 2, 4, 8, 16, 32],
        columns: &[
            RATE,
            COMMANDS,
            SERVER,
            ("workers' time for a task", "worker", "µs"),
            NETWORK,
            ("commands while idle", "idle", "/s"),
            ("server busy while idle", "idle_busy", "%"),
            ("connections of each", "connections", ""),
        ],
        text: workers,
    },
    Section {
        title: "Queues",
        size: "queues",
        name: "queues",
        sizes: &[1, 10, 100, 1_000],
        columns: &[
            RATE,
            COMMANDS,
            SERVER,
            ("commands while idle", "idle", "/s"),
            ("server busy while idle", "idle_busy", "%"),
            ("connections", "connections", ""),
            ("memory of the worker", "memory", "MB"),
        ],
        text: queues,
    },
    Section {
        title: "Queued messages",
        size: "messages behind",
        name: "depth",
        sizes: &[10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000],
        columns: &[
            RATE,
            COMMANDS,
            SERVER,
            ("sent in batches", "filled", "/s"),
            ("server's memory for a message", "memory", "bytes"),
        ],
        text: depth,
    },
    Section {
        title: "Stored results",
        size: "results",
        name: "results",
        sizes: &[10_000, 100_000, 1_000_000],
        columns: &[
            RATE,
            COMMANDS,
            SERVER,
            NETWORK,
            ("server's memory for a result", "memory", "bytes"),
            ("`get` of one that is there", "read", "ms"),
        ],
        text: results,
    },
    Section {
        title: "Payloads",
        size: "bytes of the argument",
        name: "payloads",
        sizes: &[100, 1_000, 10_000, 100_000, 1_000_000],
        columns: &[
            RATE,
            ("payload", "megabytes", "MB/s"),
            COMMANDS,
            SERVER,
            ("worker's time for a task", "worker", "µs"),
            NETWORK,
            ("sent in batches", "filled", "/s"),
            ("server's time to send one", "filled_server", "µs"),
        ],
        text: payloads,
    },
    Section {
        title: "Callers that wait",
        size: "waiting `get`s",
        name: "waiters",
        sizes: &[1, 10, 100, 1_000, 10_000],
        columns: &[
            ("another call beside them, p50", "p50", "ms"),
            ("p99", "p99", "ms"),
            ("commands for that call", "call", ""),
            ("server's time for it", "server", "µs"),
            ("commands to send one", "sent", ""),
            ("to wait for one", "commands", ""),
            ("connections for all", "connections", ""),
            ("memory for each", "memory", "kB"),
            ("all answered after", "all", "ms"),
        ],
        text: waiters,
    },
];

fn sections(figures: &Figures) -> String {
    let mut page = String::new();
    for section in SECTIONS {
        let table = table(section, figures);
        page.push_str(&format!("## {}\n\n{table}\n{}\n\n", section.title, (section.text)(figures)));
    }
    page.push_str(&format!("## Slots of a worker\n\n{}\n{SLOTS}\n\n", slots(figures)));
    page.push_str(SHARDING);
    page.push_str(&example(figures));
    page
}

fn table(section: &Section, figures: &Figures) -> String {
    let titles: Vec<&str> = section.columns.iter().map(|(title, ..)| *title).collect();
    let mut text = format!("| {} | {} |\n|---|{}\n", section.size, titles.join(" | "), "---|".repeat(titles.len()));
    for size in section.sizes {
        let name = |end: &str| format!("{}_{size}_{end}", section.name);
        if section.columns.iter().all(|(_, end, _)| figures.of(&name(end)).is_none()) {
            continue;
        }
        let cells = section.columns.iter().map(|(_, end, unit)| match figures.of(&name(end)) {
            Some(summary) => format!("{} {unit}", number(summary.median)).trim_end().to_owned(),
            None => String::new(),
        });
        let cells: Vec<String> = cells.collect();
        text.push_str(&format!("| {} | {} |\n", number(*size as f64), cells.join(" | ")));
    }
    text
}

/// The slots of a worker: one row for each number of slots.
fn slots(figures: &Figures) -> String {
    let mut text = String::from(
        "| slots | tasks that wait 10 ms | memory of the worker | tasks that compute 20 ms | how long each takes, p50 | p99 |\n|---|---|---|---|---|---|\n",
    );
    for count in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
        let cell = |end: &str, unit: &str| {
            let found = figures.of(&format!("slots_{count}_{end}"));
            found.map_or_else(String::new, |summary| format!("{} {unit}", number(summary.median)))
        };
        text.push_str(&format!(
            "| {count} | {} | {} | {} | {} | {} |\n",
            cell("waits", "/s"),
            cell("waits_memory", "MB"),
            cell("computes", "/s"),
            cell("computes_p50", "ms"),
            cell("computes_p99", "ms"),
        ));
    }
    text
}

/// A figure, as text.
fn shown(figures: &Figures, name: &str) -> String {
    figures.of(name).map_or_else(|| "?".to_owned(), |summary| number(summary.median))
}

/// The largest size of a section that was measured.
pub(crate) fn largest(figures: &Figures, name: &str, end: &str, sizes: &[u64]) -> Option<u64> {
    sizes.iter().rev().copied().find(|size| figures.of(&format!("{name}_{size}_{end}")).is_some())
}

fn workers(figures: &Figures) -> String {
    let sizes = [1, 2, 4, 8, 16, 32];
    let rate = |size: &u64| figures.of(&format!("workers_{size}_rate")).map_or(0.0, |summary| summary.median);
    let best = sizes.iter().copied().max_by(|a, b| rate(a).total_cmp(&rate(b))).unwrap_or(1);
    let server = figures.of(&format!("workers_{best}_server")).map_or(f64::NAN, |summary| summary.median);
    format!(
        "The rate is highest at {best} workers, with {} tasks in a second. Where it bends depends on what is used up first. A \
         server is one thread: at {} µs for a task it does at most {} tasks in a second, however many workers there are, and \
         more servers are needed beyond that (see below). Where workers and server share few processors, as here, the \
         processors are used up before. More workers than that only divide the same messages into smaller claims: commands \
         and time for a task grow, since a claim of a few messages costs nearly as much as one of many. Idle workers cost \
         the server their heartbeats and the looks of their maintenance, in proportion to their number.",
        shown(figures, &format!("workers_{best}_rate")),
        number(server),
        number(1e6 / server),
    )
}

fn queues(figures: &Figures) -> String {
    format!(
        "A claim names the lists that may have messages, so one claim brings messages of several queues, and a queue that is \
         known to be empty costs nothing until a message comes. The cost for a task at 1,000 queues ({} commands, {} µs of \
         the server) beside that of one ({} commands, {} µs) comes from claims with many lists, each with fewer messages. A \
         worker waits for all of them on one connection. Where queues are many because tenants are many, let each worker \
         read a part of them (`-Q`), so that its claims name fewer lists.",
        shown(figures, "queues_1000_commands"),
        shown(figures, "queues_1000_server"),
        shown(figures, "queues_1_commands"),
        shown(figures, "queues_1_server"),
    )
}

fn depth(_: &Figures) -> String {
    "The rate does not depend on how many messages wait: claims and sends are at the two ends of a list. What grows is the \
     memory, in proportion. It is the limit of a backlog: set `maxmemory` below what the machine has, so that the server \
     refuses to publish before the system kills it. What is stored already is claimed and settled all the same \
     ([REDIS.md](REDIS.md))."
        .to_owned()
}

fn results(_: &Figures) -> String {
    "A result is one key with an expiry, so neither storing nor reading depends on how many there are. Their number is the \
     rate times `result_expires`, which is a day by default: this is what fills a server first. Let tasks whose results \
     nobody reads have `ignore_result`, and give the others an expiry of minutes. A steady \
     rate of tasks has a steady rate of expiries; a million results that are stored within seconds also expire within \
     seconds, which costs the server time then."
        .to_owned()
}

fn payloads(figures: &Figures) -> String {
    format!(
        "The payload is felt from the first kilobyte on: a task costs the server {} µs at 100 bytes, {} µs at 1,000 and {} µs \
         at 10,000. Caller, server and worker copy the bytes, and the body is JSON inside of Base64 inside of JSON, as kombu \
         has it. The first kilobyte counts twice, since the header `argsrepr` shows the arguments, as in Celery. Beyond ten \
         kilobytes the rate falls in proportion to the size. Above some hundred kilobytes, store the data elsewhere and send \
         its address.",
        shown(figures, "payloads_100_server"),
        shown(figures, "payloads_1000_server"),
        shown(figures, "payloads_10000_server"),
    )
}

fn waiters(_: &Figures) -> String {
    "All calls that wait in one process share one connection, on which each has a channel. A call beside ten thousand that \
     wait costs what it costs alone: the server finds the subscriber of a channel by its name, and the process the waiting \
     call by its task. What grows is memory, in proportion. The last column contains the start of a worker that runs all \
     tasks which the calls wait for."
        .to_owned()
}

const SLOTS: &str = "\
A task that waits for something outside (a \
database, another service) uses its slot and no processor: the rate grows with the slots until the processors are used up, and a slot costs next to nothing. A task that computes uses a processor: more slots than processors do not make it \
faster, each run only takes longer, and a worker holds tasks that could run elsewhere. So the default depends on the \
tasks of the app. Where all of them are `async fn`, a worker has 64 slots, or one for each processor if there are more; \
64 is enough for thousands of such tasks in a second, and few enough for a service that all of them ask at once. Where one of them is a plain `fn`, which may compute or block its thread, a worker has one slot for each \
processor, as in Celery. `-c N` is exact in both cases. An app with both kinds gets the most from two workers: one for \
the queues of what waits, with a `-c` of its own, and one for the queues of what computes.";

const SHARDING: &str = "\
## How to shard

**First, fewer messages.** A batch (`send_all`), `chunks` and a worker with many slots cost the server less for each task \
than single calls. Results that nobody reads cost more than the task.

**Then results and queues apart.** `result_backend` may be another server than `broker_url`. The tables say what that takes away: \
the memory of the results, and the time for storing and announcing them. The price: storing a result and settling its message are two steps then, so a \
run whose worker dies between the two is repeated ([PROMISES.md](PROMISES.md)).

**Then several brokers.** A broker is the address of an `App`, and a program may have any number of apps; there is no \
global one. Choose the shard by something that belongs together, such as the customer or the document, since the steps \
of a chain, the parts of a group and the body of a chord are sent to the broker of the app whose task sends them, and a \
chord counts in one result store.

```text
let shards: Vec<App> = join_all(ADDRESSES.map(|address| App::builder(\"shop\").broker(address).backend(address).build())).await?;
let app = &shards[hash(customer) as usize % shards.len()];
bill::delay(customer).send(app).await?;
```

A worker serves one broker. A process may run one for each shard (`app.worker().start()` on each app), and a fleet may \
have some processes for each. To add a shard, start its workers first and its callers then; what is queued on the old \
ones is done there. Tasks need no order among shards, so nothing is moved.

**Redis Cluster.** With `redis+cluster://`, every key of a broker begins with one hash tag (the option `hash_tag`, \
`{apium}` by default), because a settlement is one script, and a script works on one node. So a cluster does not spread \
one broker; it spreads brokers: give each shard a hash tag of its own (`redis+cluster://node:6379?hash_tag=shard-7`). \
Make more tags than there are nodes (some hundred for ten nodes), so that nodes can be added by moving slots, without a \
change of the shards. Kombu has no cluster: where Python takes part, use several servers.

";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_sizes_that_were_measured() {
        let mut figures = Figures::default();
        figures.read("{\"measure\":\"depth_10_rate\",\"value\":1234}\n{\"measure\":\"depth_10_memory\",\"value\":600}");
        let depth = SECTIONS.iter().find(|section| section.name == "depth").unwrap();
        let table = table(depth, &figures);
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.contains("| 10 | 1,234 /s |  |  |  | 600 bytes |"), "{table}");
    }

    #[test]
    fn a_page_without_figures_has_every_section_all_the_same() {
        let page = sections(&Figures::default());
        for section in SECTIONS {
            assert!(page.contains(&format!("## {}\n", section.title)));
        }
        assert!(page.contains("## Slots of a worker") && page.contains("## A billion tasks a day"));
    }
}
