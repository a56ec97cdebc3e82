//! How the options of drivers are read: values of every kind from a file and the builder, JSON or `a=1,b=2` from a
//! variable. No error shows a value, since each may be a password.

use std::collections::BTreeMap;

use apium_transport::option_value::OptionValue;

use crate::config::read::{FromValue, InvalidValue};
use crate::config::value::Value;

impl FromValue for BTreeMap<String, OptionValue> {
    const KIND: &'static str = "a table of names with values, lists and tables (in a variable: JSON or a=1,b=[1,2])";

    fn from_value(value: &Value) -> Result<Self, InvalidValue> {
        match option_value(value) {
            OptionValue::Table(entries) => Ok(entries),
            _ => Err(InvalidValue::secret(value, Self::KIND)),
        }
    }

    fn from_text(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || InvalidValue::secret(&Value::from(text), Self::KIND);
        if text.trim_start().starts_with('{') {
            return match OptionValue::from_json(text) {
                Some(OptionValue::Table(entries)) => Ok(entries),
                _ => Err(wrong()),
            };
        }
        let pair = |item: &str| {
            let (name, value) = item.split_once('=').ok_or_else(wrong)?;
            Ok((name.trim().to_owned(), inline_value(value.trim())))
        };
        items(text).into_iter().filter(|item| !item.trim().is_empty()).map(pair).collect()
    }
}

fn option_value(value: &Value) -> OptionValue {
    match value {
        Value::None => OptionValue::None,
        Value::Bool(value) => OptionValue::Bool(*value),
        Value::Int(number) => OptionValue::Integer(*number),
        Value::Float(number) => OptionValue::Float(*number),
        Value::Text(text) => OptionValue::Text(text.clone()),
        Value::List(items) => OptionValue::List(items.iter().map(option_value).collect()),
        Value::Table(entries) => {
            OptionValue::Table(entries.iter().map(|(name, value)| (name.clone(), option_value(value))).collect())
        }
    }
}

/// A value in `a=1,b=[1,2]`: a list or a table where it is JSON of one, and a text otherwise. A text that begins with a
/// brace need not be JSON: `global_keyprefix={app}:`.
fn inline_value(text: &str) -> OptionValue {
    let json = Some(text).filter(|text| text.starts_with(['[', '{'])).and_then(OptionValue::from_json);
    json.unwrap_or_else(|| text.into())
}

/// The items between the commas that stand outside of brackets and braces. Where these are not in pairs they mean
/// nothing, and every comma counts.
fn items(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let mut quoted = false;
    let mut previous = ' ';
    let outside = |c: char| {
        match c {
            '"' if depth > 0 && previous != '\\' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        previous = c;
        c == ',' && depth <= 0
    };
    let items = text.split(outside).collect();
    if depth == 0 && !quoted { items } else { text.split(',').collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;

    const NAME: &str = "broker_transport_options";

    fn read(add: impl FnOnce(&mut Settings)) -> BTreeMap<String, OptionValue> {
        let mut settings = Settings::new();
        add(&mut settings);
        settings.check().unwrap().broker_transport_options
    }

    fn wanted() -> BTreeMap<String, OptionValue> {
        let login = BTreeMap::from([("password".to_owned(), OptionValue::from("x,]y"))]);
        BTreeMap::from([
            ("priority_steps".to_owned(), [0, 1, 2].into()),
            ("sentinel_kwargs".to_owned(), login.into()),
            ("visibility_timeout".to_owned(), 3600.into()),
            ("fanout_prefix".to_owned(), true.into()),
        ])
    }

    #[test]
    fn file_builder_and_variable_give_the_same_lists_and_tables() {
        let json = serde_json::json!({
            "priority_steps": [0, 1, 2],
            "sentinel_kwargs": { "password": "x,]y" },
            "visibility_timeout": 3600,
            "fanout_prefix": true,
        });
        let toml = "[broker_transport_options]\npriority_steps = [0, 1, 2]\nvisibility_timeout = 3600\n\
                    fanout_prefix = true\nsentinel_kwargs = { password = 'x,]y' }";
        assert_eq!(read(|settings| settings.add_toml(toml, "apium.toml").unwrap()), wanted());
        assert_eq!(read(|settings| settings.set(NAME, json.clone()).unwrap()), wanted());
        let variable = ("APIUM_BROKER_TRANSPORT_OPTIONS", json.to_string());
        assert_eq!(read(|settings| settings.add_env([variable]).unwrap()), wanted());
        assert_eq!(read(|settings| settings.set_flag(NAME, json.to_string(), "--set").unwrap()), wanted());
        let nested = "[broker_transport_options.sentinel_kwargs]\npassword = 'x,]y'";
        let nested = read(|settings| settings.add_toml(nested, "apium.toml").unwrap());
        assert_eq!(nested["sentinel_kwargs"], wanted()["sentinel_kwargs"]);
    }

    #[test]
    fn the_comma_form_of_a_variable_gives_texts_lists_and_tables() {
        let of = |text: &str| BTreeMap::<String, OptionValue>::from_text(text).unwrap();
        assert_eq!(of("a=1, b=x"), BTreeMap::from([("a".to_owned(), "1".into()), ("b".to_owned(), "x".into())]));
        let read = of(r#"priority_steps=[0, 1, 2],sentinel_kwargs={"password": "x,]y"},global_keyprefix={app}:"#);
        assert_eq!(read["priority_steps"], wanted()["priority_steps"]);
        assert_eq!(read["sentinel_kwargs"], wanted()["sentinel_kwargs"]);
        assert_eq!(read["global_keyprefix"], "{app}:".into());
        assert_eq!(of("sep=[,a=1"), BTreeMap::from([("sep".to_owned(), "[".into()), ("a".to_owned(), "1".into())]));
        assert!(of("").is_empty());
    }

    #[test]
    fn a_wrong_form_is_an_error_that_names_the_setting_and_shows_nothing() {
        let wrong = |add: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::new();
            add(&mut settings);
            let text = settings.check().unwrap_err().to_string();
            assert!(text.contains(NAME) && text.contains("a table of names"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
            text
        };
        let text = wrong(&|settings| settings.add_toml(&format!("{NAME} = 'hunter2'"), "apium.toml").unwrap());
        assert!(text.contains("the file apium.toml: it is a text, allowed is"), "{text}");
        wrong(&|settings| settings.set(NAME, ["hunter2"]).unwrap());
        wrong(&|settings| settings.add_env([("APIUM_BROKER_TRANSPORT_OPTIONS", "hunter2")]).unwrap());
        wrong(&|settings| settings.add_env([("APIUM_BROKER_TRANSPORT_OPTIONS", "{password: hunter2}")]).unwrap());
    }

    #[test]
    fn neither_the_settings_in_effect_nor_the_report_shows_a_value() {
        let json = serde_json::json!({ "sentinel_kwargs": { "password": "hunter2" }, "steps": ["hunter2"] });
        for variable in [false, true] {
            let mut settings = Settings::new();
            match variable {
                true => settings.add_env([("APIUM_BROKER_TRANSPORT_OPTIONS", json.to_string())]).unwrap(),
                false => settings.set(NAME, json.clone()).unwrap(),
            }
            let config = settings.check().unwrap();
            let shown: Vec<_> = config.changed().collect();
            assert!(!format!("{settings:?} {config:?} {shown:?}").contains("hunter2"), "{shown:?}");
        }
    }
}
