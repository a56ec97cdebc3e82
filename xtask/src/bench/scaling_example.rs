//! The worked example of the page of scaling: a billion tasks a day, computed from the figures.

use crate::bench::figures::Figures;
use crate::bench::scaling::largest;
use crate::bench::table::number;

/// Tasks in a day.
const TASKS: f64 = 1e9;
/// Seconds of a day.
const DAY: f64 = 86_400.0;
/// The peak, as a multiple of the mean.
const PEAK: f64 = 3.0;
/// The bytes of the argument, which is one of the measured sizes.
const PAYLOAD: u64 = 1_000;
/// The part of a server's thread, and of a worker's processors, that is to be used at the peak.
const USED: f64 = 0.5;
/// For how long results are kept, in seconds.
const KEPT: f64 = 600.0;
/// For how long all workers may be away, in seconds.
const AWAY: f64 = 600.0;

/// What the figures say of one task, and what follows.
struct Sums {
    /// Microseconds of a server: to take the message, and to hand it out and to store its result.
    publish: f64,
    settle: f64,
    /// Microseconds of a worker's processors.
    worker: f64,
    /// Bytes in the server: of a message, and of a result.
    message: f64,
    result: f64,
    /// Bytes on the server's network, to take the message and to hand it out.
    network: f64,
}

impl Sums {
    fn of(figures: &Figures) -> Option<Self> {
        let figure = |name: &str| figures.of(name).map(|summary| summary.median);
        let payload = |end: &str| figure(&format!("payloads_{PAYLOAD}_{end}"));
        let results = largest(figures, "results", "server", &[10_000, 100_000, 1_000_000])?;
        let stored = |end: &str| figure(&format!("results_{results}_{end}"));
        // What a larger payload adds is not among the figures of tasks with results.
        let added = payload("server")? - figure("payloads_100_server")?;
        Some(Self {
            publish: payload("filled_server")?,
            settle: stored("server")? + added.max(0.0),
            worker: payload("worker")?,
            message: payload("memory")?,
            result: stored("memory")?,
            network: payload("filled_network")? + payload("network")?,
        })
    }
}

/// The example, as text.
pub(crate) fn example(figures: &Figures) -> String {
    let mut text = String::from("## A billion tasks a day\n\n");
    let Some(sums) = Sums::of(figures) else {
        text.push_str("It is computed from the figures, of which some are missing.\n");
        return text;
    };
    let mean = TASKS / DAY;
    let peak = mean * PEAK;
    let each = sums.publish + sums.settle;
    let servers = (peak * each / 1e6 / USED).ceil().max(1.0);
    let processors = (peak * sums.worker / 1e6 / USED).ceil();
    let backlog = peak * AWAY;
    let gigabytes = |bytes: f64| number(bytes / 1e9);
    text.push_str(&format!(
        "A billion tasks a day are {} in a second on average. Traffic has a shape: let the peak be {PEAK} times the mean, \
         {} in a second. Each call has an argument of {} bytes, and its result is stored in the database of its queue. The \
         figures are those of the tables above, so another machine gives others; the sums are the same.\n\n",
        number(mean),
        number(peak),
        number(PAYLOAD as f64),
    ));
    text.push_str("| what | sum | gives |\n|---|---|---|\n");
    let mut row = |what: &str, sum: String, gives: String| text.push_str(&format!("| {what} | {sum} | {gives} |\n"));
    row(
        "server's time for a task",
        format!(
            "{} µs to send it + {} µs to hand it out and to store its result",
            number(sums.publish),
            number(sums.settle)
        ),
        format!("{} µs", number(each)),
    );
    row(
        "servers (shards), each half busy at the peak",
        format!("{} /s × {} µs ÷ {USED}", number(peak), number(each)),
        number(servers),
    );
    row(
        "memory of a backlog: all workers away for ten minutes of the peak",
        format!("{} messages × {} bytes", number(backlog), number(sums.message)),
        format!(
            "{} GB, {} GB for each server",
            gigabytes(backlog * sums.message),
            gigabytes(backlog * sums.message / servers)
        ),
    );
    row(
        "memory of results that are kept for ten minutes",
        format!("{} /s × {KEPT} s × {} bytes", number(peak), number(sums.result)),
        format!(
            "{} GB, {} GB for each server",
            gigabytes(peak * KEPT * sums.result),
            gigabytes(peak * KEPT * sums.result / servers)
        ),
    );
    row(
        "the same for a day, the default",
        format!("{} results × {} bytes", number(TASKS), number(sums.result)),
        format!("{} GB: do not", gigabytes(TASKS * sums.result)),
    );
    row(
        "network of all servers",
        format!("{} /s × {} bytes", number(peak), number(sums.network)),
        format!(
            "{} MB/s, {} MB/s for each server",
            number(peak * sums.network / 1e6),
            number(peak * sums.network / 1e6 / servers)
        ),
    );
    row(
        "processors of the workers, half of them busy, without the time of your functions",
        format!("{} /s × {} µs ÷ {USED}", number(peak), number(sums.worker)),
        number(processors),
    );
    text.push_str(&format!(
        "\nTo that come the functions themselves: at 5 ms of a processor for each task, the peak needs {} processors more, and \
         at 50 ms of waiting, {} slots. This is the larger part of such a system nearly always. Take twice as many shards as \
         the sum says, so that one of them can be away: its callers get errors after `broker_publish_timeout` and may \
         choose another shard, and its queued messages are there again when it is.\n",
        number(peak * 0.005 / USED),
        number(peak * 0.05),
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_the_figures() {
        let mut figures = Figures::default();
        for (name, value) in [
            ("payloads_100_server", 8.0),
            ("payloads_1000_server", 10.0),
            ("payloads_1000_filled_server", 4.0),
            ("payloads_1000_filled_network", 2_000.0),
            ("payloads_1000_network", 3_000.0),
            ("payloads_1000_worker", 20.0),
            ("payloads_1000_memory", 2_500.0),
            ("results_10000_server", 20.0),
            ("results_10000_memory", 400.0),
        ] {
            figures.read(&format!("{{\"measure\":\"{name}\",\"value\":{value}}}"));
        }
        let text = example(&figures);
        // 34,722 in a second, each 4 + 20 + 2 µs of a server of which half is to be used.
        assert!(text.contains("| 34,722 /s × 26 µs ÷ 0.5 | 2 |"), "{text}");
        assert!(text.contains("52.1 GB, 26.0 GB for each server"), "{text}");
        assert!(text.contains("174 MB/s"), "{text}");
    }
}
