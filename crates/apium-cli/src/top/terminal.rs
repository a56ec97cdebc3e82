//! The terminal: taken over while the view is shown, and given back however it ends.

use std::io::{self, IsTerminal, Stdout};
use std::sync::Once;

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use crate::exit::{Code, CommandError, Result};

/// The terminal of this process, until it is dropped.
pub(super) struct Screen {
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes it over.
    pub(super) fn open() -> Result<Self> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(CommandError::usage("show the live view: stdin and stdout are no terminal")
                .hint("`status`, `inspect` and `events --dump` print text, and JSON with --json"));
        }
        give_back_on_panic();
        let failed = |error: io::Error| CommandError::new(Code::Other, format!("take over the terminal: {error}"));
        enable_raw_mode().map_err(failed)?;
        // From here on dropping it gives the terminal back.
        let restore = Restore;
        execute!(io::stdout(), EnterAlternateScreen).map_err(failed)?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).map_err(failed)?;
        std::mem::forget(restore);
        Ok(Self { terminal })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back. Where it is gone there is nothing left to do.
fn give_back() {
    let _ = disable_raw_mode();
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
}

/// A panic is shown on the terminal as it was before.
fn give_back_on_panic() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            earlier(info);
        }));
    });
}
