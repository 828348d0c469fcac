// SPDX-License-Identifier: CDDL-1.0
//! Everything a module compiled from C imports is there.
use std::collections::BTreeMap;

/// What overlay, vxlan and ipnet import, by abi/kernel_imports.json: (name, provider).
fn imports() -> Vec<(String, String)> {
    let path = std::env::var("OVERLAY_SHARED").unwrap_or_else(|_| "/work/shared".into());
    let text = std::fs::read_to_string(format!("{path}/abi/kernel_imports.json"))
        .unwrap_or_else(|e| panic!("{path}/abi/kernel_imports.json: {e}"));
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let all = json["imports"].as_array().expect("imports");
    let used = |i: &&serde_json::Value| {
        let by = i["used_by"].as_array().expect("used_by");
        by.iter().any(|m| m == "overlay" || m == "vxlan" || m == "ipnet")
    };
    let text = |v: &serde_json::Value| v.as_str().expect("text").to_string();
    all.iter().filter(used).map(|i| (text(&i["name"]), text(&i["provider"]))).collect()
}

#[test]
fn every_import_is_defined_by_its_module() {
    let have: BTreeMap<_, _> =
        fakekernel::symbols().iter().map(|s| (s.name, (s.addr(), s.module))).collect();
    let imports = imports();
    assert!(imports.len() > 100, "{}", imports.len());
    let mut wrong = Vec::new();
    for (name, provider) in imports {
        // krtld makes probes of these; overlay itself provides the last.
        if provider.starts_with("krtld") || provider == "drv/overlay" {
            continue;
        }
        match have.get(name.as_str()) {
            None => wrong.push(format!("{name} is missing")),
            Some((0, _)) => wrong.push(format!("{name} is NULL")),
            Some((_, module)) => {
                let base = |m: &str| ["unix", "genunix"].contains(&m);
                if *module != provider.split(' ').next().unwrap_or("")
                    && !(base(module) && base(&provider))
                {
                    wrong.push(format!("{name} is of {module}, not {provider}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_symbol_is_there_twice() {
    let mut seen = std::collections::HashSet::new();
    for s in fakekernel::symbols() {
        assert!(seen.insert(s.name), "{}", s.name);
    }
}
