// SPDX-License-Identifier: CDDL-1.0
//! C types, as abi/kernel_abi.json, abi/kernel_imports.json and prototypes.list spell them.
//!
//! `*const char`, `**struct msgb`, `char[32]`, `*fn(*void) -> int`, and gcc's `int (*) (const void *)`.
use crate::Type;
use serde_json::Value;
use std::collections::BTreeMap;

/// What names mean: kernel_abi.json.
pub struct Names {
    abi: Value,
    /// From each name of a structure, without `struct`, to the one it goes by.
    structs: BTreeMap<String, String>,
}

/// C's own words.
const SCALARS: [(&str, Type); 11] = [
    ("char", Type::Int(1, true)),
    ("unsigned char", Type::Int(1, false)),
    ("short int", Type::Int(2, true)),
    ("short unsigned int", Type::Int(2, false)),
    ("int", Type::Int(4, true)),
    ("unsigned int", Type::Int(4, false)),
    ("long int", Type::Int(8, true)),
    ("long unsigned int", Type::Int(8, false)),
    ("long long int", Type::Int(8, true)),
    ("long long unsigned int", Type::Int(8, false)),
    // A datum of the list says u32.
    ("u32", Type::Int(4, false)),
];

impl Names {
    pub fn new(abi: Value) -> Names {
        let mut structs = BTreeMap::new();
        for s in abi["structs"].as_array().expect("structs") {
            let name = s["name"].as_str().expect("name");
            let name = name.trim_start_matches("struct ");
            for other in s["c_names"].as_array().expect("c_names") {
                let other = other.as_str().expect("name").trim_start_matches("struct ");
                structs.insert(other.to_owned(), name.to_owned());
            }
        }
        for (name, t) in abi["typedefs"].as_object().expect("typedefs") {
            let of = t["of"].as_str().expect("of");
            if let Some(tag) = of.strip_prefix("struct ") {
                structs.entry(tag.to_owned()).or_insert_with(|| name.clone());
            }
        }
        Names { abi, structs }
    }

    /// The name a structure goes by, of any of its names.
    pub fn canonical(&self, name: &str) -> String {
        self.structs.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    pub fn parse(&self, text: &str) -> Type {
        let text = text.trim();
        if let Some((result, args)) = text.split_once("(*)") {
            let args = args.trim().strip_prefix('(').and_then(|a| a.strip_suffix(')'));
            return self.function(args.expect("arguments"), result);
        }
        if let Some(rest) = text.strip_prefix("*fn(") {
            let (args, result) = rest.rsplit_once(") -> ").expect("a result");
            return self.function(args, result);
        }
        if let Some((of, n)) = text.strip_suffix(']').and_then(|t| t.rsplit_once('[')) {
            return Type::Array(Box::new(self.parse(of)), n.parse().expect("a length"));
        }
        if let Some(to) = text.strip_prefix('*').or_else(|| text.strip_suffix('*')) {
            return match self.parse(to) {
                // C lets the name of a function stand for its address.
                f @ Type::Fn(..) => f,
                to => Type::Ptr(Box::new(to)),
            };
        }
        self.name(text.trim_start_matches("const ").trim_start_matches("struct "))
    }

    pub fn function(&self, args: &str, result: &str) -> Type {
        let result = Box::new(self.parse(result));
        if args.trim() == "?" || args.contains("???") {
            return Type::Fn(None, result);
        }
        let args = split(args).into_iter().filter(|a| !matches!(*a, "" | "void"));
        Type::Fn(Some(args.map(|a| self.parse(a)).collect()), result)
    }

    fn name(&self, name: &str) -> Type {
        if let Some((_, t)) = SCALARS.iter().find(|(n, _)| *n == name) {
            return t.clone();
        }
        match name {
            "void" => return Type::Void,
            "..." => return Type::Variadic,
            _ => {}
        }
        let text = |v: &Value| v.as_str().map(str::to_owned);
        if let Some(base) = text(&self.abi["scalar_types"][name]["base"]) {
            return self.parse(&base);
        }
        if let Some(signature) = text(&self.abi["function_types"][name]["sig"]) {
            return self.parse(&format!("*{}", signature.trim_start_matches('*')));
        }
        let typedef = &self.abi["typedefs"][name];
        match (typedef["kind"].as_str(), typedef["of"].as_str()) {
            (Some("enum"), _) => Type::Enum,
            (Some("scalar"), Some(of)) => self.parse(of),
            // A handle: its name says more than that it is a pointer.
            (Some("pointer"), Some(of)) if !of.starts_with("*struct") => self.parse(of),
            _ if !self.abi["enums"][name].is_null() => Type::Enum,
            _ => Type::Named(self.canonical(name)),
        }
    }
}

/// Splits at the commas that are in no parentheses.
fn split(args: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = args.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).collect()
}
