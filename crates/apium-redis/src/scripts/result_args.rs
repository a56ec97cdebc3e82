//! A result record as the scripts read it. `write_record` in `lua/record.lua` says what becomes of it.

use std::time::Duration;

use apium_protocol::result::state::State;
use apium_transport::backend::backend::ResultRecord;
use redis::Cmd;

use crate::keys::result_keys::ResultKeys;

/// Longer than this many milliseconds (some thirty thousand years) is for ever: the server refuses times that overflow.
const FOR_EVER: u128 = 1_000_000_000_000_000;

/// The arguments of one record.
#[derive(Debug)]
pub(crate) struct RecordArgs {
    pub(crate) key: String,
    pub(crate) run_key: String,
    pub(crate) document: Vec<u8>,
    /// Milliseconds; an empty text is for ever.
    ttl_ms: String,
    class: &'static str,
    retries: String,
    delivery: String,
}

impl RecordArgs {
    pub(crate) fn new(keys: &ResultKeys, record: ResultRecord) -> Self {
        let ResultRecord { document, run, ttl, .. } = record;
        let class = match &document.state {
            State::Success => "s",
            state if state.is_ready() => "r",
            _ => "n",
        };
        // A SUCCESS is final and needs no version. The server hashes every byte that a script gets, so none is sent.
        let run = run.filter(|_| class != "s");
        Self {
            key: keys.task(&document.task_id),
            run_key: run.map(|_| keys.run(&document.task_id)).unwrap_or_default(),
            document: document.to_json(),
            ttl_ms: ttl_ms(ttl).map(|ttl| ttl.to_string()).unwrap_or_default(),
            class,
            retries: run.map(|run| run.retries.to_string()).unwrap_or_default(),
            delivery: run.map(|run| run.delivery.to_string()).unwrap_or_default(),
        }
    }

    /// Roughly how many bytes it adds to a command.
    pub(crate) fn size(&self) -> usize {
        self.document.len() + self.key.len() + self.run_key.len() + 128
    }

    /// Adds the arguments, always `RECORD_ARGS` of `lua/record.lua`.
    pub(crate) fn append_to(&self, command: &mut Cmd) {
        command.arg(&self.key).arg(&self.run_key).arg(self.document.as_slice()).arg(&self.ttl_ms);
        command.arg(self.class).arg(&self.retries).arg(&self.delivery);
    }
}

/// A time to live in milliseconds, at least one; `None` is for ever.
pub(crate) fn ttl_ms(ttl: Option<Duration>) -> Option<u64> {
    let ttl = ttl?.as_millis();
    if ttl >= FOR_EVER { None } else { u64::try_from(ttl.max(1)).ok() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use apium_protocol::json::text::Json;
    use apium_protocol::result::document::ResultDocument;
    use apium_protocol::result::state::State;
    use apium_transport::backend::backend::{ResultRecord, RunVersion};

    use super::{RecordArgs, ttl_ms};
    use crate::keys::result_keys::ResultKeys;

    /// `RECORD_ARGS` of the script.
    const COUNT: usize = 7;

    #[test]
    fn every_record_has_the_same_number_of_arguments() {
        for run in [None, Some(RunVersion::new(3, u64::MAX))] {
            for ttl in [None, Some(Duration::from_secs(86_400))] {
                let document = ResultDocument::new("id", State::Retry, Json::NULL);
                let mut command = redis::cmd("X");
                RecordArgs::new(&ResultKeys::new("p_"), {
                    let mut record = ResultRecord::new(document);
                    record.run = run;
                    record.ttl = ttl;
                    record
                })
                .append_to(&mut command);
                assert!(include_str!("lua/record.lua").contains(&format!("local RECORD_ARGS = {COUNT}\n")));
                assert_eq!(command.args_iter().count(), 1 + COUNT);
            }
        }
    }

    #[test]
    fn a_time_to_live_is_one_that_the_server_takes() {
        assert_eq!(ttl_ms(None), None);
        assert_eq!(ttl_ms(Some(Duration::ZERO)), Some(1));
        assert_eq!(ttl_ms(Some(Duration::from_millis(1500))), Some(1500));
        assert_eq!(ttl_ms(Some(Duration::MAX)), None);
    }
}
