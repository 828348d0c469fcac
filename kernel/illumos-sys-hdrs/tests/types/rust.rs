// SPDX-License-Identifier: CDDL-1.0
//! The types of our own sources.
use crate::Type;
use crate::c::Names;
use quote::ToTokens;
use std::collections::BTreeMap;
use syn::{ForeignItem, Item};

/// What a source declares: functions and data of foreign blocks by their names, members of structures as
/// `structure.member`.
pub type Declarations = BTreeMap<String, Type>;

/// Reads the sources of the crate.
pub fn declarations(names: &Names, types: &str, functions: &str) -> Declarations {
    let types = syn::parse_file(types).expect("Rust").items;
    let functions = syn::parse_file(functions).expect("Rust").items;
    let reader = Reader { names, aliases: aliases(&types) };
    let mut all = Declarations::new();
    for item in types.iter().chain(&functions) {
        match item {
            Item::Struct(s) => {
                for f in &s.fields {
                    let field = f.ident.as_ref().expect("a named field");
                    all.insert(format!("{}.{field}", s.ident), reader.read(&f.ty));
                }
            }
            Item::ForeignMod(block) => {
                for item in &block.items {
                    let (name, t) = match item {
                        ForeignItem::Fn(f) => (&f.sig.ident, reader.signature(&f.sig)),
                        ForeignItem::Static(s) => (&s.ident, reader.read(&s.ty)),
                        other => panic!("{}: what is it?", other.to_token_stream()),
                    };
                    all.insert(name.to_string(), t);
                }
            }
            _ => {}
        }
    }
    all
}

/// The C functions that a source defines.
pub fn definitions(names: &Names, types: &str, source: &str) -> Declarations {
    let items = syn::parse_file(source).expect("Rust").items;
    let mut known = aliases(&syn::parse_file(types).expect("Rust").items);
    known.extend(aliases(&items));
    let reader = Reader { names, aliases: known };
    let functions = items.iter().filter_map(|item| match item {
        Item::Fn(f)
            if f.attrs.iter().any(|a| a.to_token_stream().to_string().contains("no_mangle")) =>
        {
            Some((f.sig.ident.to_string(), reader.signature(&f.sig)))
        }
        _ => None,
    });
    functions.collect()
}

fn aliases(items: &[Item]) -> BTreeMap<String, syn::Type> {
    let aliases = items.iter().filter_map(|item| match item {
        Item::Type(t) => Some((t.ident.to_string(), (*t.ty).clone())),
        _ => None,
    });
    aliases.collect()
}

struct Reader<'a> {
    names: &'a Names,
    aliases: BTreeMap<String, syn::Type>,
}

impl Reader<'_> {
    fn signature(&self, sig: &syn::Signature) -> Type {
        let args = sig.inputs.iter().map(|a| match a {
            syn::FnArg::Typed(a) => self.read(&a.ty),
            syn::FnArg::Receiver(_) => panic!("a method"),
        });
        let args = args.chain(sig.variadic.as_ref().map(|_| Type::Variadic)).collect();
        Type::Fn(Some(args), Box::new(self.result(&sig.output)))
    }

    fn result(&self, output: &syn::ReturnType) -> Type {
        match output {
            syn::ReturnType::Default => Type::Void,
            syn::ReturnType::Type(_, t) => self.read(t),
        }
    }

    fn read(&self, t: &syn::Type) -> Type {
        match t {
            syn::Type::Ptr(p) => Type::Ptr(Box::new(self.read(&p.elem))),
            syn::Type::Never(_) => Type::Void,
            syn::Type::Array(a) => {
                let n = a.len.to_token_stream().to_string();
                Type::Array(Box::new(self.read(&a.elem)), n.parse().expect("a length"))
            }
            syn::Type::BareFn(f) => {
                let args = f.inputs.iter().map(|a| self.read(&a.ty)).collect();
                Type::Fn(Some(args), Box::new(self.result(&f.output)))
            }
            syn::Type::Path(p) => self.path(p.path.segments.last().expect("a name")),
            other => panic!("{}: what is it?", other.to_token_stream()),
        }
    }

    fn path(&self, name: &syn::PathSegment) -> Type {
        if let syn::PathArguments::AngleBracketed(args) = &name.arguments {
            assert_eq!(name.ident, "Option");
            let Some(syn::GenericArgument::Type(t)) = args.args.first() else { panic!("no type") };
            return self.read(t);
        }
        match name.ident.to_string().as_str() {
            "c_void" => Type::Void,
            "c_char" | "i8" => Type::Int(1, true),
            "u8" => Type::Int(1, false),
            "i16" => Type::Int(2, true),
            "u16" => Type::Int(2, false),
            "c_int" | "i32" => Type::Int(4, true),
            "u32" => Type::Int(4, false),
            "i64" | "isize" => Type::Int(8, true),
            "u64" | "usize" => Type::Int(8, false),
            name => match self.aliases.get(name) {
                // A handle.
                Some(syn::Type::Ptr(_)) | None => Type::Named(self.names.canonical(name)),
                Some(t) => self.read(t),
            },
        }
    }
}
