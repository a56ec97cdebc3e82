//! Errbacks of a whole chord, which the setting `task_allow_error_cb_on_chord_header` gives to the tasks of its header
//! too.
//!
//! Celery reads the setting when an errback is linked. A signature of Apium has no app at that time. So a chord holds
//! the errbacks that were linked to it until it is sent, run eagerly, or replaces a task.

use crate::canvas::node::Node;
use crate::canvas::pipe::move_links_to_steps;
use crate::config::table::Config;

impl Node {
    /// This signature, whose chords give their errbacks to their headers where the settings say so.
    #[must_use]
    pub(crate) fn with_settings(mut self, config: &Config) -> Self {
        if config.task_allow_error_cb_on_chord_header {
            self.give_errbacks_to_headers();
        }
        self
    }

    fn give_errbacks_to_headers(&mut self) {
        match self {
            Self::Task(_) => {}
            Self::Chain(chain) => {
                move_links_to_steps(chain);
                chain.steps.iter_mut().for_each(Self::give_errbacks_to_headers);
            }
            Self::Group(group) => group.members.iter_mut().for_each(Self::give_errbacks_to_headers),
            Self::Chord(chord) => {
                let members = &mut chord.header.members;
                for errback in std::mem::take(&mut chord.errbacks) {
                    members.iter_mut().for_each(|member| member.link_error(errback.clone()));
                }
                members.iter_mut().for_each(Self::give_errbacks_to_headers);
                chord.body.give_errbacks_to_headers();
            }
        }
    }
}
