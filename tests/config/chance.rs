//! Texts by chance: none makes it panic, and none makes it repeat a secret.

use proptest::prelude::*;

use super::*;

/// Pieces that make a text likely to get far.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "[probe]\n",
            "[[tunnel]]\n",
            "[[tunnel.probe]]\n",
            "[api]\n",
            "period = ",
            "token = ",
            "unit = ",
            "url = ",
            "hostnames = ",
            "= ",
            "\n",
            "\"",
            "\"\"\"",
            "'''",
            "[",
            "]",
            "{",
            "}",
            "\"15s\"",
            "15",
            "-1",
            "\"*.\"",
            "\"https://\"",
            "cooldown = [\"1s\", \"0s\"]\n",
            "\"é\"",
            "\t",
            "#",
            "mode = \"remedy\"\n",
            ",",
            ".",
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let host = Host::with(&[]);
        fs::write(host.at(MAIN), bytes).unwrap();
        let _said = host.load(&[]).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_text_makes_it_panic(pieces in proptest::collection::vec(piece(), 0..24)) {
        let _said = Host::with(&[(MAIN, &pieces.concat())]).load(&[]).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_variable_makes_it_panic(name in "[A-Z_]{0,12}|PROBE__PERIOD|API__TOKEN|REMEDY__COOLDOWN", value in ".{0,20}") {
        let _said = Host::with(&[]).load(&[(&format!("TUNNELWARDEN_{name}"), &value)]).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_secret_is_repeated_wherever_it_is_pasted(
        before in proptest::collection::vec(piece(), 0..10),
        after in proptest::collection::vec(piece(), 0..6),
    ) {
        let secret = "eyJhIjoiMTIzNDU2Nzg5MCIsInQiOiI2MmRhNmMxOSJ9";
        let text = format!("{}{secret}{}", before.concat(), after.concat());
        if let Err(errors) = Host::with(&[(MAIN, &text)]).load(&[]) {
            let said = format!("{errors} {errors:?}");
            prop_assert!(!said.contains("eyJhIjoi") && !said.contains("NDU2Nzg5"), "{}", said);
        }
    }
}
