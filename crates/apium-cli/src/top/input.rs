//! What keys do to the model, and what they ask to be done outside of it.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::top::model::{Action, Mode, Model, Prompt, Tab};
use crate::top::rows::Subject;

/// How long a text that is typed may become.
const LONGEST_TEXT: usize = 200;

/// What a key asks to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Quit,
    Do(Action),
}

/// A key was pressed.
pub(super) fn key(model: &mut Model, key: KeyEvent) -> Option<Effect> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'd')) {
        return Some(Effect::Quit);
    }
    match std::mem::replace(&mut model.mode, Mode::List) {
        Mode::List => in_list(model, key.code),
        // Any key closes them.
        Mode::Help | Mode::Details => None,
        Mode::Confirm(action) => match key.code {
            KeyCode::Char('y' | 'Y') => Some(Effect::Do(action)),
            _ => {
                model.message = Some("nothing was done".to_owned());
                None
            }
        },
        Mode::Ask(prompt, text) => {
            ask(model, prompt, text, key.code);
            None
        }
    }
}

fn in_list(model: &mut Model, code: KeyCode) -> Option<Effect> {
    model.message = None;
    match code {
        KeyCode::Char('q') => return Some(Effect::Quit),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => model.mode = Mode::Help,
        KeyCode::Char(digit @ '1'..='4') => show(model, Tab::ALL[digit as usize - '1' as usize]),
        KeyCode::Tab | KeyCode::Right => show(model, model.tab.moved(1)),
        KeyCode::BackTab | KeyCode::Left => show(model, model.tab.moved(Tab::ALL.len() - 1)),
        KeyCode::Down | KeyCode::Char('j') => model.choose(1),
        KeyCode::Up | KeyCode::Char('k') => model.choose(-1),
        KeyCode::PageDown => model.choose(20),
        KeyCode::PageUp => model.choose(-20),
        KeyCode::Home | KeyCode::Char('g') => model.choose(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => model.choose(isize::MAX),
        KeyCode::Char('/') => model.mode = Mode::Ask(Prompt::Filter, model.filter.clone()),
        KeyCode::Esc => {
            model.filter.clear();
            model.keep_in_list();
        }
        KeyCode::Enter if model.chosen_row().is_some() => model.mode = Mode::Details,
        KeyCode::Char('E') => model.mode = Mode::Confirm(Action::EnableEvents),
        KeyCode::Char(letter) => of_row(model, letter),
        _ => {}
    }
    None
}

fn show(model: &mut Model, tab: Tab) {
    model.tab = tab;
    model.keep_in_list();
}

/// A key that is about the chosen row.
fn of_row(model: &mut Model, letter: char) {
    let Some(row) = model.chosen_row() else { return };
    model.mode = match (letter, row.subject) {
        ('r' | 't', Subject::Task { id, .. } | Subject::Dead { id: Some(id), .. }) => {
            Mode::Confirm(Action::Revoke { id, terminate: letter == 't' })
        }
        ('R', Subject::Task { name: Some(task), .. }) => Mode::Ask(Prompt::RateLimit { task }, String::new()),
        ('p', Subject::Queue { name: queue, paused: false }) => Mode::Ask(Prompt::Reason { queue }, String::new()),
        ('p', Subject::Queue { name: queue, paused: true }) => Mode::Confirm(Action::Resume { queue }),
        ('y', Subject::Dead { key, .. }) => Mode::Confirm(Action::Replay { key }),
        ('r' | 't' | 'R' | 'p' | 'y', _) => {
            model.message = Some(format!("{letter} does nothing to this row; ? shows the keys"));
            Mode::List
        }
        _ => Mode::List,
    };
}

/// A key while a text is typed.
fn ask(model: &mut Model, prompt: Prompt, mut text: String, code: KeyCode) {
    match code {
        KeyCode::Esc => return,
        KeyCode::Enter => {
            model.mode = answered(model, prompt, text.trim());
            model.keep_in_list();
            return;
        }
        KeyCode::Backspace => drop(text.pop()),
        KeyCode::Char(character) if text.chars().count() < LONGEST_TEXT && !character.is_control() => {
            text.push(character);
        }
        _ => {}
    }
    if prompt == Prompt::Filter {
        model.filter.clone_from(&text);
        model.keep_in_list();
    }
    model.mode = Mode::Ask(prompt, text);
}

fn answered(model: &mut Model, prompt: Prompt, text: &str) -> Mode {
    match prompt {
        Prompt::Filter => {
            text.clone_into(&mut model.filter);
            Mode::List
        }
        Prompt::RateLimit { .. } if text.is_empty() => Mode::List,
        Prompt::RateLimit { task } => Mode::Confirm(Action::RateLimit { task, limit: text.to_owned() }),
        Prompt::Reason { queue } => Mode::Confirm(Action::Pause { queue, reason: text.to_owned() }),
    }
}
