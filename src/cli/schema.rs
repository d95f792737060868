//! `rollcall schema`: what may stand in a zone file or in the server file, as JSON Schema (2020-12) for editors.
//!
//! Which keys there are and what may stand at them comes from `config::keys`, which the reader uses too; what they are for
//! comes from the tables of the configuration reference. So an editor, the reader and the reference say the same.

mod reference;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::{Exit, Outcome, output};
use crate::config::keys::{self, Key, Kind, Section};
use crate::control::client::to_json;
use reference::Reference;

/// `rollcall schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which kind of file
    #[arg(value_enum, default_value = "zone")]
    pub file: File,
}

/// The kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum File {
    /// zones/NAME.toml
    Zone,
    /// rollcall.toml
    Server,
}

pub(super) fn run(args: &SchemaArgs) -> Outcome {
    output::print_last(&(to_json(&schema(args.file), true) + "\n"))?;
    Ok(Exit::Done)
}

const NAME: &str = "^[A-Za-z0-9_.:-]{1,63}$";
const ADDRESS: &str = "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$";
const SOCKET_ADDRESS: &str = "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[[0-9A-Fa-f:.]+(%[0-9]+)?\\]):[0-9]{1,5}$";
const NETWORK: &str = "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(/[0-9]{1,3})?$";
const DURATION: &str =
    "^([0-9]+ *(nsec|ns|usec|us|msec|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d) *)+$";
const SHARE: &str = "^[0-9]{1,3}(\\.[0-9])? *%$";

fn schema(file: File) -> Value {
    let (section, title) = match file {
        File::Zone => (&keys::ZONE, "rollcall zone file"),
        File::Server => (&keys::SERVER, "rollcall server file"),
    };
    let mut maker = Maker { reference: Reference::read(), definitions: Map::new() };
    let mut root = maker.object(&[section], &[]);
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!(title));
    root.insert("description".to_owned(), json!(format!("As rollcall {} reads it.", crate::VERSION)));
    root.insert("$defs".to_owned(), Value::Object(maker.definitions));
    Value::Object(root)
}

struct Maker {
    reference: Reference,
    definitions: Map<String, Value>,
}

impl Maker {
    /// A table with the keys of these sections.
    fn object(
        &mut self,
        sections: &[&'static Section],
        by_type: &'static [(&'static str, &'static [&'static Section])],
    ) -> Map<String, Value> {
        let mut properties = Map::new();
        let own = sections.iter().flat_map(|section| section.keys.iter().map(move |key| (*section, key)));
        let own: Vec<(&'static Section, &'static Key)> = own.collect();
        for (section, key) in &own {
            properties.insert(key.name.to_owned(), self.property(section, key));
        }
        for (_, sections) in by_type {
            for section in *sections {
                for key in section.keys {
                    let made = self.property(section, key);
                    match properties.get_mut(key.name) {
                        None => drop(properties.insert(key.name.to_owned(), made)),
                        Some(known) if *known == made => {}
                        // One name, two meanings: which of them holds is said by the type.
                        Some(known) => *known = merged(known.take(), made),
                    }
                }
            }
        }
        let required: Vec<&str> = own.iter().filter(|(_, key)| key.required).map(|(_, key)| key.name).collect();
        let mut object = Map::new();
        object.insert("type".to_owned(), json!("object"));
        let mut rules = self.rules_by_type(&properties, by_type);
        if properties.contains_key("check") && properties.contains_key("checks") {
            rules.push(json!({ "not": { "required": ["check", "checks"] } }));
        }
        if properties.contains_key("address") && properties.contains_key("cname") {
            // A backend is either here or elsewhere.
            rules.push(json!({ "oneOf": [{ "required": ["address"] }, { "required": ["cname"] }] }));
        }
        object.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            object.insert("required".to_owned(), json!(required));
        }
        object.insert("additionalProperties".to_owned(), json!(false));
        if !rules.is_empty() {
            object.insert("allOf".to_owned(), Value::Array(rules));
        }
        object
    }

    /// For each type, which of the other types' keys may not be there, and what else its own mean.
    fn rules_by_type(
        &mut self,
        known: &Map<String, Value>,
        by_type: &'static [(&'static str, &'static [&'static Section])],
    ) -> Vec<Value> {
        let mut rules = Vec::new();
        let all = |sections: &[&'static Section]| -> Vec<(&'static Section, &'static Key)> {
            sections.iter().flat_map(|section| section.keys.iter().map(move |key| (*section, key))).collect()
        };
        for (name, sections) in by_type {
            let own = all(sections);
            let mut properties = Map::new();
            for (_, key) in by_type.iter().flat_map(|(_, sections)| all(sections)) {
                if own.iter().all(|(_, one)| one.name != key.name) {
                    // An editor marks the key itself then, which a list of allowed names would not make it do.
                    properties.insert(key.name.to_owned(), json!(false));
                }
            }
            for (section, key) in &own {
                let made = self.property(section, key);
                if known.get(key.name) != Some(&made) {
                    properties.insert(key.name.to_owned(), made);
                }
            }
            let required: Vec<&str> = own.iter().filter(|(_, key)| key.required).map(|(_, key)| key.name).collect();
            rules.push(json!({
                "if": { "properties": { "type": { "const": name } }, "required": ["type"] },
                "then": { "properties": properties, "required": required },
            }));
        }
        rules
    }

    fn property(&mut self, section: &'static Section, key: &'static Key) -> Value {
        let mut made = self.value(&key.value);
        let row = self.reference.row(section, key.name);
        if let Value::Object(made) = &mut made {
            let text = row.map_or_else(|| key.text.to_owned(), |row| row.description());
            if !text.is_empty() {
                made.insert("description".to_owned(), json!(text));
            }
            if let Some(default) = row.and_then(|row| row.default_value()) {
                made.insert("default".to_owned(), default);
            }
        }
        made
    }

    fn value(&mut self, kind: &'static Kind) -> Value {
        let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
        match kind {
            Kind::Boolean => json!({ "type": "boolean" }),
            Kind::Integer(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Kind::Signed(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            // What TOML has as a date, editors show to a schema as a string.
            Kind::Moment => json!({ "type": "string", "format": "date-time" }),
            Kind::Coordinates => json!({
                "type": "array",
                "prefixItems": [
                    { "type": "number", "minimum": -90, "maximum": 90 },
                    { "type": "number", "minimum": -180, "maximum": 180 },
                ],
                "minItems": 2,
                "maxItems": 2,
            }),
            Kind::String => json!({ "type": "string" }),
            Kind::NotEmpty => json!({ "type": "string", "minLength": 1 }),
            Kind::Text(longest) => json!({ "type": "string", "maxLength": longest }),
            Kind::Duration => pattern(DURATION),
            Kind::Share => pattern(SHARE),
            Kind::Word(words) => json!({ "enum": words }),
            Kind::Name => pattern(NAME),
            Kind::Address => pattern(ADDRESS),
            Kind::SocketAddress => pattern(SOCKET_ADDRESS),
            Kind::Network => pattern(NETWORK),
            Kind::Form(form) => pattern(form),
            Kind::OneOrMany(one) => {
                let one = self.value(one);
                json!({ "anyOf": [one, { "type": "array", "items": one }] })
            }
            Kind::List(one, least) => json!({ "type": "array", "items": self.value(one), "minItems": least }),
            Kind::Either(kinds) => {
                json!({ "anyOf": kinds.iter().map(|kind| self.value(kind)).collect::<Vec<_>>() })
            }
            Kind::Table(section) => self.definition(section, &[]),
            Kind::ByType(section, by_type) => self.definition(section, by_type),
            Kind::Named(one) => self.table_of(one, &json!({ "pattern": NAME })),
            Kind::Owners(one) => self.table_of(one, &json!({ "minLength": 1 })),
            Kind::Types(one) => {
                let names = json!({ "pattern": "^[A-Za-z][A-Za-z0-9-]*$", "not": { "enum": ["SOA", "soa"] } });
                self.table_of(one, &names)
            }
            Kind::Regions(one) => {
                json!({ "type": "object", "required": ["default"], "additionalProperties": self.value(one) })
            }
            Kind::Strings => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        }
    }

    fn table_of(&mut self, one: &'static Kind, names: &Value) -> Value {
        json!({ "type": "object", "propertyNames": names, "additionalProperties": self.value(one) })
    }

    fn definition(
        &mut self,
        section: &'static Section,
        by_type: &'static [(&'static str, &'static [&'static Section])],
    ) -> Value {
        if !self.definitions.contains_key(section.name) {
            // Known before it is made: tables may hold themselves.
            self.definitions.insert(section.name.to_owned(), Value::Null);
            let made = self.object(&[section], by_type);
            self.definitions.insert(section.name.to_owned(), Value::Object(made));
        }
        json!({ "$ref": format!("#/$defs/{}", section.name) })
    }
}

/// One property of both: either kind of value, and both texts, so that an editor shows something wherever it looks.
fn merged(mut known: Value, mut other: Value) -> Value {
    let text = |value: &mut Value| -> String {
        let Value::Object(value) = value else { return String::new() };
        value.remove("default");
        value.remove("description").and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let (one, two) = (text(&mut known), text(&mut other));
    let mut made = if known == other { known } else { json!({ "anyOf": [known, other] }) };
    if let Value::Object(made) = &mut made {
        let both = if one.contains(&two) { one } else { format!("{one} Or: {two}") };
        made.insert("description".to_owned(), json!(both));
    }
    made
}

#[cfg(test)]
mod tests;
