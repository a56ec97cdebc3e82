//! The text format of Prometheus (version 0.0.4): families of samples with labels.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The content type of a page.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

/// The labels of a sample.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// Begins a family. All samples of it follow.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a text cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Adds a sample.
    pub(crate) fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.0.push_str(name);
        let mut open = '{';
        for (label, text) in labels {
            let _ = write!(self.0, "{open}{label}=\"{}\"", escaped(text));
            open = ',';
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one sample.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, labels: Labels<'_>, value: f64) {
        self.family(name, "gauge", help);
        self.sample(name, labels, value);
    }

    /// A counter that has no label beside these.
    pub(crate) fn counter(&mut self, name: &str, help: &str, labels: Labels<'_>, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, labels, value as f64);
    }

    /// Adds the samples of a histogram: its buckets, the sum in seconds and the count.
    pub(crate) fn histogram<const N: usize>(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram<N>) {
        let (bucket, mut total) = (format!("{name}_bucket"), 0);
        for (count, bound) in histogram.buckets.iter().zip(histogram.bounds) {
            total += count.load(Ordering::Relaxed);
            self.sample(&bucket, &[labels, &[("le", bound.to_string().as_str())]].concat(), total as f64);
        }
        total += histogram.above.load(Ordering::Relaxed);
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), total as f64);
        let sum = Duration::from_nanos(histogram.sum.load(Ordering::Relaxed)).as_secs_f64();
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, total as f64);
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Counts how long something took, in buckets.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    /// The upper bounds of the buckets, in seconds.
    bounds: [f64; N],
    buckets: [AtomicU64; N],
    above: AtomicU64,
    /// In nanoseconds.
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    pub(crate) fn new(bounds: [f64; N]) -> Self {
        Self {
            bounds,
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            above: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound);
        let bucket = bucket.and_then(|at| self.buckets.get(at)).unwrap_or(&self.above);
        bucket.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.gauge("up", "Whether it is up.", &[("name", "a \"b\"\\\n")], 1.0);
        page.counter("done_total", "How many.", &[], 3);
        let histogram = Histogram::new([0.1, 1.0]);
        [50, 200, 2_000].into_iter().for_each(|millis| histogram.observe(Duration::from_millis(millis)));
        page.family("took", "histogram", "How long.");
        page.histogram("took", &[("name", "x")], &histogram);
        assert_eq!(
            page.into_text(),
            "# HELP up Whether it is up.\n# TYPE up gauge\nup{name=\"a \\\"b\\\"\\\\\\n\"} 1\n\
             # HELP done_total How many.\n# TYPE done_total counter\ndone_total 3\n\
             # HELP took How long.\n# TYPE took histogram\n\
             took_bucket{name=\"x\",le=\"0.1\"} 1\ntook_bucket{name=\"x\",le=\"1\"} 2\n\
             took_bucket{name=\"x\",le=\"+Inf\"} 3\ntook_sum{name=\"x\"} 2.25\ntook_count{name=\"x\"} 3\n"
        );
    }
}
