//! What the system knows of this process: memory and times. Linux tells it under `/proc`; elsewhere there is none.

use serde::Serialize;

/// How many ticks of `/proc/self/stat` are a second. Linux has this number on every machine.
const TICKS: f64 = 100.0;

/// What the process has used (`getrusage`). What Linux does not count is 0.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct ResourceUsage {
    utime: f64,
    stime: f64,
    maxrss: u64,
    ixrss: u64,
    idrss: u64,
    isrss: u64,
    minflt: u64,
    majflt: u64,
    nswap: u64,
    inblock: u64,
    oublock: u64,
    msgsnd: u64,
    msgrcv: u64,
    nsignals: u64,
    nvcsw: u64,
    nivcsw: u64,
}

impl ResourceUsage {
    /// That of this process; `None` where the system does not tell it.
    pub(crate) fn of_this_process() -> Option<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
        Self::read(&read("stat")?, &read("status")?, &read("io").unwrap_or_default())
    }

    fn read(stat: &str, status: &str, io: &str) -> Option<Self> {
        // The name of the program stands in brackets, and may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        Some(Self {
            utime: field(11) as f64 / TICKS,
            stime: field(12) as f64 / TICKS,
            maxrss: line(status, "VmHWM:").unwrap_or_default(),
            minflt: field(7),
            majflt: field(9),
            inblock: line(io, "read_bytes:").unwrap_or_default() / 512,
            oublock: line(io, "write_bytes:").unwrap_or_default() / 512,
            nvcsw: line(status, "voluntary_ctxt_switches:").unwrap_or_default(),
            nivcsw: line(status, "nonvoluntary_ctxt_switches:").unwrap_or_default(),
            ..Self::default()
        })
    }
}

/// The memory that the process uses now, as Celery writes it: `59.312MB`.
pub(crate) fn memory() -> Option<String> {
    Some(format!("{:.3}MB", resident_kib()? as f64 / 1024.0))
}

/// The memory that the process uses now, in KiB.
pub(crate) fn resident_kib() -> Option<u64> {
    line(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The number in the line that begins so.
fn line(text: &str, begin: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(begin))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_linux_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 21941 0 11 0 44 16 0 0 20 0 9 0 100";
        let status = "VmHWM:\t   60452 kB\nvoluntary_ctxt_switches:\t444\nnonvoluntary_ctxt_switches:\t8990\n";
        let read = ResourceUsage::read(stat, status, "read_bytes: 1024\nwrite_bytes: 512\n").unwrap();
        let wanted = ResourceUsage {
            utime: 0.44,
            stime: 0.16,
            maxrss: 60_452,
            minflt: 21_941,
            majflt: 11,
            inblock: 2,
            oublock: 1,
            nvcsw: 444,
            nivcsw: 8_990,
            ..ResourceUsage::default()
        };
        assert_eq!(read, wanted);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_memory() {
        assert!(memory().unwrap().ends_with("MB"));
        assert!(ResourceUsage::of_this_process().unwrap().maxrss > 0);
    }
}
