use super::*;
use crate::{
    config::AppMap,
    domain::{Expiry, Scopes, SourceKey},
    secret::Secret,
};

const NOW: i64 = 1_790_000_000;

fn good() -> LegacyToken {
    LegacyToken {
        app: Some("google".into()),
        user_id: Some("U2x".into()),
        access_token: Some(Secret::new("ya29.a0-_~+/=")),
        refresh_token: Some(Secret::new("1//0g")),
        expiry: Expiry::At(NOW + 60),
        scopes: Scopes::Listed(["a".into(), "b".into()].into()),
        ..LegacyToken::empty(SourceKey::from("1"))
    }
}

/// Returns the code that rejects a row, or the codes of its warnings in parentheses.
fn judged(row: &LegacyToken, tolerated: RuleSet) -> String {
    let checked = destination(row, &AppMap::default())
        .and_then(|destination| sendable(row, &destination, tolerated, NOW));
    match checked {
        Err(reason) => reason.code.into_owned(),
        Ok(sendable) => {
            let codes: Vec<&str> = sendable.warnings.iter().map(Rule::code).collect();
            format!("({})", codes.join(" "))
        }
    }
}

fn of(change: impl FnOnce(&mut LegacyToken)) -> String {
    let mut row = good();
    change(&mut row);
    judged(&row, RuleSet::default())
}

fn access(token: &str) -> String {
    of(|row| row.access_token = Some(Secret::new(token)))
}

#[test]
fn a_good_row_is_nobodys_business() {
    assert_eq!(of(|_| {}), "()");
    for token in [
        "xoxb-1234-abcd",
        "gho_16C7e42F292c6912E7710c838347Ae178B4a",
        "00D5g000004!AQEAQ",
        "EAAJZB",
        "ghost",
        "vaulted",
        "c30d",
        "www",
        "-x",
        "eyJpdiI6x.y.z",
        "b'x",
        "x..",
        "XXY",
        "state",
        "1234567890:AAF-abcdefghijklmnopqrstuvwxyz012345",
        "0123456789abcdef0123456789abcdef01234567",
        "d34db33fd34db33fd34db33fd34db33fd34db33f",
        "12345678901234567890123456789012",
        "AQXdSP_W41_UPs5ioT_t8HESyODB4FqbkJ8LrV_5mff4gPODzOYR",
        "CiQAbc",
        "I1lX",
        "part--one--two",
        "abcdefghijklmnop:qrstuv",
        "EwB4A8l6BAAURSN/FHlDW5xN74t6GzbtsBBeBUYAAQ==",
    ] {
        assert_eq!(access(token), "()", "{token}");
    }
}

#[test]
fn ids_are_those_of_somebody() {
    for (id, expected) in [
        ("U2 x", "()"),
        ("ü", "()"),
        (" U2x", "id_padded"),
        ("U2x\u{a0}", "id_padded"),
        ("U2x\n", "id_padded"),
        ("U2\tx", "id_control_characters"),
        ("U2\u{85}x", "id_control_characters"),
    ] {
        assert_eq!(of(|row| row.user_id = Some(id.into())), expected, "{id:?}");
        assert_eq!(of(|row| row.tenant_id = Some(id.into())), expected, "{id:?}");
        assert_eq!(of(|row| row.app = Some(id.into())), expected, "{id:?}");
    }
    let long = "x".repeat(513);
    assert_eq!(of(|row| row.user_id = Some(long.clone())), "id_too_long");
    assert_eq!(of(|row| row.tenant_id = Some(long.clone())), "id_too_long");
    assert_eq!(of(|row| row.app = Some(long.clone().into())), "id_too_long");
    assert_eq!(of(|row| row.user_id = Some("x".repeat(512))), "()");
    let blank_user = |row: &mut LegacyToken| {
        row.user_id = Some(" ".into());
        row.tenant_id = Some("T".into());
    };
    assert_eq!(of(blank_user), "user_blank");
    assert_eq!(of(|row| row.tenant_id = Some(" ".into())), "(tenant_blank)");
    for external in [" x", "x\ny", " ", long.as_str()] {
        assert_eq!(
            of(|row| row.external_identifier = Some(external.into())),
            "(external_identifier_unclean)"
        );
    }
    assert_eq!(
        of(|row| row.external_identifier = Some("the work account".into())),
        "()"
    );
}

#[test]
fn an_expiry_is_a_time_of_this_century() {
    for (seconds, expected) in [
        (NOW + 1, "()"),
        (NOW, "()"),
        (i64::from(i32::MAX), "()"),
        (i64::from(i32::MAX) + 1, "expiry_out_of_range"),
        (0, "expiry_out_of_range"),
        (-1, "expiry_out_of_range"),
        (i64::MAX, "expiry_out_of_range"),
        (NOW * 1000, "expiry_scaled"),
        (NOW / 1000, "(expiry_implausible)"),
        (3600, "(expiry_implausible)"),
    ] {
        assert_eq!(of(|row| row.expiry = Expiry::At(seconds)), expected, "{seconds}");
    }
    let expired = |row: &mut LegacyToken| row.expiry = Expiry::At(NOW - 1);
    assert_eq!(of(expired), "()", "there is a refresh token");
    assert_eq!(
        of(|row| {
            expired(row);
            row.refresh_token = None;
        }),
        "(expired_without_refresh)"
    );
    assert_eq!(
        of(|row| {
            expired(row);
            row.access_token = None;
        }),
        "()",
        "the expiry is that of no token"
    );
}

#[test]
fn a_token_looks_like_one() {
    for (token, expected) in [
        ("\"ya29.x\"", "token_quoted"),
        ("'ya29.x'", "token_quoted"),
        ("\"ya29.x", "()"),
        ("\"", "()"),
        ("ya29.x\n", "token_whitespace"),
        (" ya29.x", "token_whitespace"),
        ("  ", "token_whitespace"),
        ("ya29\r\n.x", "token_whitespace"),
        ("ya29 x", "(token_space)"),
        ("ya29\u{2009}x", "(token_space token_not_ascii)"),
        ("ya29ü", "(token_not_ascii)"),
        ("Bearer ya29.x", "token_prefixed"),
        ("token: ya29.x", "token_prefixed"),
        ("{\"access_token\": \"x\"}", "token_is_json"),
        ("{\"p\":\"x\",\"h\":{\"iv\":\"y\"}}", "token_encrypted"),
        ("b'ya29.x'", "token_quoted"),
        ("b\"ya29.x\"", "token_quoted"),
        ("s:6:\"ya29.x\";", "token_quoted"),
        ("access_token=gho_x&scope=repo", "token_is_form"),
        ("expires_in=3599&access_token=gho_x", "token_is_form"),
        ("796132392e53594e5448455449432d364f4d42", "token_encoded"),
        ("eWEyOS5TWU5USEVUSUM=", "token_encoded"),
        ("Z2hvX1NZTlRIRVRJQw==", "token_encoded"),
        ("(null)", "token_placeholder"),
        ("REDACTED", "token_placeholder"),
        ("***", "token_placeholder"),
        ("xxxxxxxxxxxxxxxxxxxxxxxx", "token_placeholder"),
        ("ya29.a0AfH6SM...", "token_placeholder"),
        (
            "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..bm9uY2U.c2VhbGVk.dGFn",
            "(token_jwe)",
        ),
        ("null", "token_placeholder"),
        ("Undefined", "token_placeholder"),
        ("\\N", "token_placeholder"),
        ("nullx", "()"),
        ("1//0g", "(tokens_identical)"),
    ] {
        assert_eq!(access(token), expected, "{token:?}");
    }
    assert_eq!(
        of(|row| row.refresh_token = Some(Secret::new("x\n"))),
        "token_whitespace"
    );
    assert_eq!(of(|row| row.id_token = Some(Secret::new("'x'"))), "token_quoted");
    let reason = sendable(
        &LegacyToken {
            id_token: Some(Secret::new("'very-secret'")),
            ..good()
        },
        &destination(&good(), &AppMap::default()).unwrap(),
        RuleSet::default(),
        NOW,
    )
    .unwrap_err();
    assert!(
        reason
            .text
            .starts_with("a token is enclosed in quotes (ID token): "),
        "{}",
        reason.text
    );
    assert!(!reason.text.contains("very-secret"));
}

#[test]
fn envelopes_are_known_by_their_shape() {
    let fernet = format!("gAAAAA{}==", "B".repeat(92));
    let kms = format!("AQICAHi{}", "4x".repeat(80));
    let google = format!("CiQAk{}", "4x".repeat(80));
    for envelope in [
        fernet.as_str(),
        "eyJpdiI6IkJ3PT0iLCJ2YWx1ZSI6IngiLCJtYWMiOiJ5In0=",
        "-----BEGIN PGP MESSAGE-----\n\nww0EBwMC\n-----END PGP MESSAGE-----\n",
        "-----BEGIN PGP MESSAGE-----\n\nww0EBwMC\n-----END PGP MESSAGE-----",
        "\\xc30d04070302",
        "c30d0407030295ed4ba5aa6b5c0674d23601",
        "ww0EBwMCle1LpaprXAZ00j",
        "vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==",
        // CryptoJS, Better Auth, and Node's three and two parts, in hex and in base64.
        "U2FsdGVkX1/ys2ett4HE3OwX1GWSslz276ePyJ2CcOA=",
        "$ba$1$ef635dcd91cff4fe154213f8e24ebcdefb8c3ec44826b7db",
        "5cff8e4f1cba4b0e1f05964f63bbdf87:5c906d4e9174367e4951fb6cd387d03b:d5c65bbb9a8bbd44",
        "36a1a7a3b21ae5b235215c3960b27a3a:ee96e808ae33ae21257f81072fb3e9aa",
        "5cff8e4f1cba4b0e1f05964f:5c906d4e9174367e4951fb6cd387d03b:d5c65bbb9a8bbd44",
        "+7h5WaFrwh6NQzNt:xtM64Q1+7h5WaFrwh6NQzA==:c2VhbGVk",
        "+7h5WaFrwh6NQzNtxtM64Q==:c2VhbGVkIHNlYWxlZA==",
        "aZ3kQ9xW1bVn5TyU:Aby4zf2zh31LFkfce2gw5nD2T7uR4pAuwvkyReKYDjfRqWtf6jx/Bo6eqVExHe+1YnCM88hoVLVZpwqEyW+iZQLooBl0",
        // Rails' encryptor and its verifier.
        "c2VhbGVk--+7h5WaFrwh6NQzNt--+7h5WaFrwh6NQzNtxtM64Q==",
        "c2lnbmVk--d34db33fd34db33fd34db33fd34db33fd34db33f",
        // Grafana, Twenty, Jasypt, Spring, Sentry's Fernet within base64.
        "I1lXVXlaalJ5T0dka2F6RnpNR0UjKllXVnpMV05tWWcqcTg0OFJUUWsuaXqSV1SKzSIavRbU9Rnq",
        "enc:v2:3050150f:FEcxypH+jxoeGFPyXPx7r4W2hgC5CYTx",
        "ENC(G6N718UuyPE5bHyWKyuLQSm02auQPUtm)",
        "{cipher}AQA6N718UuyPE5bHyWKyuLQSm02auQPUtm",
        "Z0FBQUFBQnc1RXhlbGpQVUE3dExGUnFRWXNzTVBzTjZPU1ZL",
        // AWS and Google Cloud.
        kms.as_str(),
        google.as_str(),
    ] {
        assert_eq!(access(envelope), "token_encrypted", "{envelope}");
    }
    // Another length, or only similar.
    assert_eq!(access(&fernet[..90]), "()");
    assert_eq!(access("\\xc30"), "()");
    assert_eq!(access(&"c30d04".repeat(10)), "()");
}

/// Builds a JWT with these claims and any signature.
fn jwt(claims: &str) -> String {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
    format!(
        "{}.{}.c2ln",
        BASE64.encode("{\"alg\":\"none\"}"),
        BASE64.encode(claims)
    )
}

#[test]
fn a_jwt_knows_its_own_expiry() {
    let column = NOW + 60;
    for (exp, expected) in [
        (column.to_string(), "()"),
        ((column + 299).to_string(), "()"),
        (format!("{column}.5"), "()"),
        ((column + 7200).to_string(), "(jwt_expiry_differs)"),
        ((column - 7200).to_string(), "(jwt_expiry_differs)"),
        ((column * 1000).to_string(), "(jwt_expiry_differs)"),
        ("-1e300".to_owned(), "(jwt_expiry_differs)"),
        ("null".to_owned(), "()"),
        ("\"soon\"".to_owned(), "()"),
    ] {
        let claims = format!("{{\"sub\":\"x\",\"nested\":{{\"exp\":1}},\"exp\":{exp},\"aud\":[\"y\"]}}");
        assert_eq!(access(&jwt(&claims)), expected, "{claims}");
    }
    let padded = jwt("{\"exp\":12}").replace(".c2ln", "==.c2ln");
    assert!(access(&padded).contains("jwt"), "{padded}");
    assert_eq!(access(&jwt("{\"sub\":\"x\"}")), "()");
    assert_eq!(access(&jwt("no claims")), "()");
    assert_eq!(access("eyJhbGciOiJub25lIn0.!!.c2ln"), "()");
    assert_eq!(access("eyJhbGciOiJub25lIn0.e30.a.b.c"), "()");
    let huge = jwt(&format!("{{\"exp\":1,\"x\":\"{}\"}}", "y".repeat(10_000)));
    assert_eq!(access(&huge), "()");
    let unknown = of(|row| {
        row.access_token = Some(Secret::new(jwt("{\"exp\":1}")));
        row.expiry = Expiry::Unknown;
    });
    assert_eq!(unknown, "()");
}

#[test]
fn scopes_are_a_list_of_words() {
    let of_scopes = |scopes: &[&str]| {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        of(|row| row.scopes = Scopes::Listed(scopes))
    };
    assert_eq!(of_scopes(&["a", ""]), "(scopes_empty)");
    assert_eq!(of_scopes(&["a b"]), "(scopes_unsplit)");
    assert_eq!(of_scopes(&["a", "b", "a"]), "(scopes_duplicate)");
    let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(of_scopes(&many), "()");
    many.push("7");
    assert_eq!(of_scopes(&many), "(scopes_duplicate)");
}

#[test]
fn a_word_for_nobody_is_nobodys_id() {
    for word in ["null", "undefined", "None", "N/A", "(null)", "-"] {
        assert_eq!(of(|row| row.user_id = Some(word.into())), "id_placeholder");
        assert_eq!(of(|row| row.tenant_id = Some(word.into())), "id_placeholder");
        assert_eq!(
            of(|row| row.external_identifier = Some(word.into())),
            "id_placeholder"
        );
    }
    let row = LegacyToken {
        tenant_id: Some("none".into()),
        ..good()
    };
    let tolerated = [Rule::IdPlaceholder].into_iter().collect();
    assert_eq!(judged(&row, tolerated), "(id_placeholder)");
    assert_eq!(of(|row| row.user_id = Some("nullius".into())), "()");
}

#[test]
fn what_is_tolerated_is_a_warning() {
    let quoted = LegacyToken {
        access_token: Some(Secret::new("'x'")),
        user_id: Some(" U".into()),
        ..good()
    };
    assert_eq!(judged(&quoted, RuleSet::default()), "id_padded");
    let some: RuleSet = [Rule::IdPadded].into_iter().collect();
    assert_eq!(judged(&quoted, some), "token_quoted");
    let both: RuleSet = [Rule::IdPadded, Rule::TokenQuoted].into_iter().collect();
    assert_eq!(judged(&quoted, both), "(id_padded token_quoted)");
}
