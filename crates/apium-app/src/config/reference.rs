//! The reference page of the settings, made from the table.

use crate::config::settings::ONLY_CELERYS;
use crate::config::table::SETTINGS;

/// Every setting as Markdown: one section for each part of Apium, one row for each setting.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Names are Celery's, in lower case. A setting is given by the builder of the app, in `apium.toml`, as a variable\n\
         (`APIUM_` and the name in upper case), or by a flag of the command line. A later one of these wins. In a\n\
         variable, a list is a text with commas.\n\n\
         The options of a driver are a table whose values may be lists and tables: `[broker_transport_options]` in\n\
         `apium.toml`, JSON or `a=1,b=[1,2]` in a variable. Each driver has its own options, with their types: see\n\
         [REDIS.md](REDIS.md) and [SQLITE.md](SQLITE.md). Their values are never printed.\n\n\
         The table `[app]` of `apium.toml` belongs to the program: `settings.app::<T>()` reads it with serde.\n\
         `APIUM_APP__NAME` and `APIUM_APP__TABLE__NAME` win over its entries. Its values are never printed.\n",
    );
    let mut group = "";
    for setting in SETTINGS {
        if setting.group != group {
            group = setting.group;
            page.push_str(&format!("\n## {group}\n\n| setting | default | allowed | meaning |\n|---|---|---|---|\n"));
        }
        let cell = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let row = [setting.default, setting.kind, setting.doc].map(cell).join(" | ");
        page.push_str(&format!("| `{}` | {row} |\n", setting.name));
    }
    page.push_str(
        "\n## Celery's settings that are not here\n\n\
         Each is refused with this text. A `*` stands for every ending.\n\n\
         | setting | here |\n|---|---|\n",
    );
    for (names, instead) in ONLY_CELERYS {
        let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        page.push_str(&format!("| {names} | {instead} |\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_row() {
        let page = markdown();
        for setting in SETTINGS {
            assert!(page.contains(&format!("| `{}` | ", setting.name)), "{} is missing", setting.name);
        }
        assert_eq!(page.matches("\n## ").count(), 8, "each part has one section, and so have Celery's settings");
        for (names, _) in ONLY_CELERYS {
            assert!(names.iter().all(|name| page.contains(&format!("`{name}`"))), "{names:?}");
        }
    }
}
