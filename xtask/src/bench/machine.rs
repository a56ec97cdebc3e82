//! The facts of the machine, which are printed beside the figures.

use std::fs;
use std::process::Command;

/// One line: processor, cores, memory, kernel, compiler.
pub(crate) fn facts() -> String {
    let cores = std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |n| n.to_string());
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = field("/proc/meminfo", "MemTotal").and_then(|text| gibibytes(&text)).unwrap_or_else(|| "?".to_owned());
    let system = output_of("uname", &["-sr"]).unwrap_or_else(|| std::env::consts::OS.to_owned());
    let rustc = output_of("rustc", &["--version"]).unwrap_or_else(|| "rustc ?".to_owned());
    format!("{cores} cores ({cpu}), {memory} GiB, {system}, {rustc}")
}

/// The value of `name` in a file of `name: value` lines.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn gibibytes(text: &str) -> Option<String> {
    let kibibytes: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some((kibibytes / (1 << 20)).to_string())
}

fn output_of(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok()?;
    Some(String::from_utf8(out.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_gibibytes() {
        assert_eq!(gibibytes("24675836 kB").as_deref(), Some("23"));
        assert_eq!(gibibytes("much"), None);
    }

    #[test]
    fn the_compiler_is_named() {
        assert!(facts().contains("rustc "), "{}", facts());
    }
}
