//! `gate.toml`: the committed one is valid, and what is wrong in others is said with its place.

use std::path::Path;

use harness::config::{Ask, Config, Program};
use harness::pipeline::manifests;

const SYSTEM: &str = r#"
[system]
name = "s"
namespace = "s"
manifests = "m"
scenarios = "c"
version = "v2"
previous-version = "v1"
"#;

fn parse(rest: &str) -> Result<Config, String> {
    let text = format!("{SYSTEM}{rest}");
    Config::parse(&text, Path::new("gate.toml"), Path::new("/project")).map_err(|error| error.to_string())
}

#[test]
fn the_committed_file_is_valid() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gate.toml");
    let config = Config::load(&file).unwrap();
    assert!(config.root.is_absolute());
    let flaws: Vec<&str> = config.builds.keys().map(String::as_str).collect();
    let expected = [
        "bad-config",
        "caches-failures",
        "costly-health",
        "crash-loop",
        "drops-sockets",
        "image-invalid",
        "image-missing",
        "leaks-memory",
        "leaks-sockets",
        "never-ready",
        "never-reconnects",
        "no-drain",
        "refuses-returning",
        "slow-start",
    ];
    assert_eq!(flaws, expected);
    for (name, build) in &config.builds {
        match &build.overlay {
            None => assert_eq!(build.env.get("BUILD_FLAW"), Some(name), "a build is named after its flaw"),
            Some(overlay) => assert!(overlay.ends_with(format!("{name}.yaml")) && overlay.is_file(), "{overlay:?}"),
        }
    }
    assert!(matches!(&config.images["redis"].program, Program::Host(programs) if programs.len() == 2));
    assert!(config.smoke.iter().any(|check| check.quick), "`smoke --quick` must ask something");
    assert!(config.smoke.iter().any(|check| matches!(check.ask, Ask::Websocket(_))));
    assert!(config.traffic.iter().any(|traffic| traffic.service == "backend" && traffic.load.sockets >= 100));
}

#[test]
fn paths_start_at_the_file() {
    let config =
        parse("[images.a]\nhost-binaries=[\"x\"]\nentrypoint=[\"x\"]\nfiles=[{from=\"f\", to=\"/f\"}]").unwrap();
    assert_eq!(config.system.manifests, Path::new("/project/m"));
    assert_eq!(config.images["a"].files[0].from, Path::new("/project/f"));
    assert_eq!(config.state_directory(), Path::new("/project/target/gate"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let image = "[images.a]\nhost-binaries = [\"x\"]\nentrypoint = [\"x\"]\n";
    let rows = [
        ("syntax", "[images.a]\nentrypoint = [\"x\"\n".to_owned()),
        ("unknown key", format!("{image}colour = \"red\"\n")),
        ("unknown table", format!("{image}[colours]\nred = 1\n")),
        ("wrong type", "[images.a]\nentrypoint = \"x\"\n".to_owned()),
        ("nothing runs in it", "[images.a]\nentrypoint = [\"x\"]\n".to_owned()),
        (
            "pulled and built",
            "[images.a]\ncargo = { package = \"p\", bin = \"b\" }\npull = \"redis:7\"\nentrypoint = [\"x\"]\n"
                .to_owned(),
        ),
        ("pulled from nowhere", "[images.a]\npull = \"Redis\"\n".to_owned()),
        ("pulled without a tag", format!("[images.a]\npull = \"redis@sha256:{}\"\n", "0".repeat(64))),
        ("pulled and changed", "[images.a]\npull = \"redis:7\"\nenv = { A = \"b\" }\n".to_owned()),
        (
            "pulled and spoiled",
            "[images.a]\npull = \"redis:7\"\n[builds.b]\nimages = [\"a\"]\nenv = { A = \"b\" }\n".to_owned(),
        ),
        (
            "a context of nothing",
            "[images.a]\nhost-binaries = [\"x\"]\nentrypoint = [\"x\"]\ncontext = \".\"\n".to_owned(),
        ),
        ("a Dockerfile and a binary", "[images.a]\ndockerfile = \"D\"\npull = \"redis:7\"\n".to_owned()),
        ("a Dockerfile with an entrypoint", "[images.a]\ndockerfile = \"D\"\nentrypoint = [\"x\"]\n".to_owned()),
        ("no programs", "[images.a]\nhost-binaries = []\nentrypoint = [\"x\"]\n".to_owned()),
        ("no entrypoint", "[images.a]\nhost-binaries = [\"x\"]\nentrypoint = []\n".to_owned()),
        ("relative target", format!("{image}files = [{{ from = \"f\", to = \"f\" }}]\n")),
        ("repository", "[images.\"A b\"]\nhost-binaries = [\"x\"]\nentrypoint = [\"x\"]\n".to_owned()),
        ("image version", format!("{image}version = \"v 1\"\n")),
        ("unknown image", format!("{image}[builds.bad]\nimages = [\"a\", \"b\"]\nenv = {{}}\n")),
        ("a build that changes nothing", format!("{image}[builds.bad]\nimages = [\"a\"]\n")),
        (
            "traffic too slow to show anything",
            format!("{image}[[traffic]]\nservice = \"s\"\nrequests-per-second = 0.5\npath = \"/\"\n"),
        ),
        (
            "traffic with sockets to nowhere",
            format!("{image}[[traffic]]\nservice = \"s\"\nrequests-per-second = 5\npath = \"/\"\nsockets = 3\n"),
        ),
        ("secret length", format!("{image}[secrets.k]\nkeys = {{ key = {{ generate = 0 }} }}\n")),
        (
            "registry with a scheme",
            format!("{image}[clusters.c]\ncontext = \"c\"\nuid = \"u\"\nregistry = \"https://ghcr.io/team\"\n"),
        ),
        (
            "plain http of no registry",
            format!("{image}[clusters.c]\ncontext = \"c\"\nuid = \"u\"\nplain-http = true\n"),
        ),
        ("empty uid", format!("{image}[clusters.staging]\ncontext = \"staging\"\nuid = \"\"\n")),
        ("duration", format!("{image}[rollout]\npull-grace = \"soon\"\n")),
        ("warns of everything", format!("{image}[reference]\nwarn-above = {{ factor = 1.0 }}\n")),
        ("no such staging", format!("{image}[checklist]\nsmoke-on = \"stagin\"\n")),
        ("backup age", format!("{image}[checklist]\nbackup-not-older-than = \"daily\"\n")),
        ("soak watches nothing", format!("{image}{}", soak("metrics = []"))),
        (
            "soak reads nothing known",
            format!(
                "{image}{}",
                soak("metrics = [{ name = \"m\", unit = \"\", read = \"tea-leaves\", warning = 1, critical = 2 }]")
            ),
        ),
        ("smoke asks nothing", format!("{image}[[smoke]]\nname = \"n\"\nservice = \"s\"\n")),
        (
            "smoke expects nothing",
            format!(
                "{image}[[smoke]]\nname = \"n\"\nservice = \"s\"\nwebsocket = {{ path = \"/\", send = 1, expect = [] }}\n"
            ),
        ),
        ("not ASCII before the place", format!("{image}env = {{ Ä = \"ü\", X = 1 }}\n")),
    ];
    let said: Vec<String> = rows
        .iter()
        .map(|(row, text)| format!("{row}\n  {}", parse(text).expect_err(row).replace('\n', "\n  ")))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_system_that_cannot_be_is_refused() {
    let check = |from: &str, to: &str| {
        let text = SYSTEM.replace(from, to) + "[images.a]\nhost-binaries=[\"x\"]\nentrypoint=[\"x\"]\n";
        Config::parse(&text, Path::new("gate.toml"), Path::new("/")).expect_err(to).to_string()
    };
    let said = [
        check("namespace = \"s\"", "namespace = \"S_\""),
        check("version = \"v2\"", "version = \"3.3.1+build\""),
        check("previous-version = \"v1\"", "previous-version = \"v2\""),
        check("name = \"s\"\n", ""),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

fn soak(metrics: &str) -> String {
    format!(
        "[soak]\nfor = \"10m\"\nevery = \"5s\"\nwarm-up = \"10s\"\npersists = 3\nworkload = \"deployment/a\"\nservice = \"a\"\n\
         port = 1\nsource = \"s\"\n{metrics}\n[soak.load]\nrequests-per-second = 1\npath = \"/\"\nsockets = 0\nsocket-path = \"/ws\"\n"
    )
}

#[test]
fn the_committed_soak_is_the_runbooks() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gate.toml");
    let config = Config::load(&file).unwrap();
    let soak = config.soak.unwrap();
    assert_eq!(soak.length, std::time::Duration::from_secs(600));
    let bounds: Vec<(&str, f64, f64)> =
        soak.metrics.iter().map(|metric| (metric.name.as_str(), metric.warning, metric.critical)).collect();
    assert_eq!(
        bounds,
        [
            ("response time (p95)", 500.0, 2000.0),
            ("error rate", 0.1, 1.0),
            ("error rate (5xx)", 0.1, 1.0),
            ("cache hit rate", 80.0, 60.0),
            ("memory usage", 70.0, 85.0),
            ("CPU usage", 60.0, 80.0),
            ("active connections", 500.0, 800.0),
            ("Redis ping (p95)", 5.0, 20.0),
        ]
    );
    let release = &config.suites["release"];
    assert!(release.checklist && release.soak && release.includes == ["core"]);
}

#[test]
fn what_is_compared_with_has_defaults() {
    let image = "[images.a]\nhost-binaries=[\"x\"]\nentrypoint=[\"x\"]\n";
    let of = |text: &str| parse(&format!("{image}{text}")).unwrap().reference;
    let default = of("");
    assert_eq!(default.file, Path::new("/project/scenarios/reference.json"));
    let other = of("[reference]\nfile=\"r.json\"\nwarn-above = { factor = 50 }\n");
    assert_eq!((other.file.as_path(), other.warn_above.factor), (Path::new("/project/r.json"), 50.0));
    assert_eq!(other.warn_above.floor, default.warn_above.floor);
}

#[test]
fn an_absent_file_is_named() {
    let error = Config::load(Path::new("/nowhere/gate.toml")).unwrap_err();
    assert_eq!(error.to_string(), "read `/nowhere/gate.toml`: No such file or directory (os error 2)");
}

#[test]
fn the_committed_manifests_fit_the_committed_file() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gate.toml");
    let config = Config::load(&file).unwrap();
    for profile in config.profiles.keys().map(String::as_str).chain([manifests::AS_DEPLOYED]) {
        let loaded = manifests::load(&config, profile).unwrap();
        assert_eq!(loaded.profile_changes.is_empty(), profile == manifests::AS_DEPLOYED, "{profile}");
        for object in &loaded.objects {
            for repository in object.repositories() {
                assert!(config.images.contains_key(repository), "{} runs `{repository}`", object.title());
            }
        }
        for check in &config.smoke {
            let is_it = |object: &&manifests::Manifest| object.kind() == "Service" && object.name() == check.service;
            let service = loaded.objects.iter().find(is_it).unwrap_or_else(|| panic!("no service {}", check.service));
            assert_eq!(service.value["spec"]["type"], "NodePort", "`{}` asks {}", check.name, check.service);
        }
    }
}
