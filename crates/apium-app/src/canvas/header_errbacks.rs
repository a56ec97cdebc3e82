//! Errbacks of a chord that are its header's too, which a setting says: `task_allow_error_cb_on_chord_header`.
//!
//! Celery looks at the setting when an errback is linked. A signature knows no app then, so a chord remembers what was
//! linked to the whole of it until it is sent, runs here, or takes a task's place.

use crate::canvas::node::Node;
use crate::canvas::pipe::settle_links;
use crate::config::table::Config;

impl Node {
    /// This signature as these settings want it.
    #[must_use]
    pub(crate) fn under(mut self, config: &Config) -> Self {
        if config.task_allow_error_cb_on_chord_header {
            self.give_errbacks_to_headers();
        }
        self
    }

    fn give_errbacks_to_headers(&mut self) {
        match self {
            Self::Task(_) => {}
            Self::Chain(chain) => {
                settle_links(chain);
                chain.steps.iter_mut().for_each(Self::give_errbacks_to_headers);
            }
            Self::Group(group) => group.members.iter_mut().for_each(Self::give_errbacks_to_headers),
            Self::Chord(chord) => {
                let members = &mut chord.header.members;
                for mut errback in std::mem::take(&mut chord.errbacks) {
                    // It is called for each of them, and takes nothing of any.
                    errback.immutable = true;
                    members.iter_mut().for_each(|member| member.link_error(errback.clone()));
                }
                members.iter_mut().for_each(Self::give_errbacks_to_headers);
                chord.body.give_errbacks_to_headers();
            }
        }
    }
}
