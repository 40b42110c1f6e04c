//! Pages: the right head, and the policy they run under.

use super::*;

#[tokio::test]
async fn every_page_path_answers_html_under_a_strict_policy() {
    let door = door().await;
    let public =
        ["/", "/viewer/a/b", "/streams/kv", "/streams/kv/a/b", "/agents", "/products", "/tasks", "/docs"];
    let asked = public.map(|path| door.ask("GET", path)).into_iter();
    let asked = asked.chain(["/pipeline", "/dlq", "/docs"].map(|path| door.ask_admin("GET", path)));
    for request in asked {
        let answer = request.send().await.expect("answer");
        let url = answer.url().clone();
        assert!(header(&answer, "content-type").starts_with("text/html"), "{url}");
        let policy = header(&answer, "content-security-policy");
        assert!(
            policy.starts_with("default-src 'self'") && policy.contains("frame-ancestors 'none'"),
            "{url}"
        );
        assert!(!policy.contains("unsafe"), "{url}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        assert_eq!(header(&answer, "referrer-policy"), "same-origin");
        let (status, body) = (answer.status(), answer.text().await.expect("body"));
        match status {
            StatusCode::OK => assert!(body.contains("<html")),
            _ => assert!(status == 503 && body.contains("were not built") && body.contains("npm"), "{url}"),
        }
    }
    let answer = door.ask_admin("GET", "/").send().await.expect("answer");
    assert_eq!((answer.status(), header(&answer, "location")), (StatusCode::SEE_OTHER, "/pipeline"));
}

#[tokio::test]
async fn answers_that_are_no_pages_run_nothing() {
    let door = door().await;
    let answer = door.get("/api/streams").await;
    assert_eq!(header(&answer, "content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
}

#[tokio::test]
async fn a_viewer_without_a_key_is_refused() {
    problem(door().await.ask("GET", "/viewer/"), 400, "invalid-key").await;
}
