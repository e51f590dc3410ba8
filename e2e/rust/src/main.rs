// A client made by graphql_client from the server's schema. It prints the request of an operation, or reads its response from standard
// input, so that it needs no HTTP library.
use graphql_client::{GraphQLQuery, Response};
use std::{env, error::Error, io};

type DateTime = String;

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "schema.graphql",
    query_path = "operations.graphql",
    response_derives = "Debug",
    skip_serializing_none
)]
struct Keys;

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "schema.graphql",
    query_path = "operations.graphql",
    response_derives = "Debug",
    skip_serializing_none
)]
struct Rename;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["keys", retriever] => print(&Keys::build_query(keys::Variables { id: retriever.into(), first: 2 }))?,
        ["rename", key, name] => print(&Rename::build_query(rename::Variables {
            input: rename::UpdateApiKeyInput {
                id: key.into(),
                name: Some(name.into()),
                description: None,
                expires_at: None,
                allowed_origins: None,
                rate_limit_override: None,
            },
        }))?,
        ["keys"] => {
            let response: Response<keys::ResponseData> = serde_json::from_reader(io::stdin())?;
            let list = response.data.and_then(|data| data.retriever).ok_or("no retriever")?.api_keys;
            for key in list.results {
                println!("{} {:?}", key.name, key.status);
            }
        }
        ["rename"] => {
            let response: Response<rename::ResponseData> = serde_json::from_reader(io::stdin())?;
            match response.data.and_then(|data| data.update_api_key) {
                Some(payload) => println!("{} cleared {:?}", payload.api_key.name, payload.cleared),
                None => println!("{}", response.errors.ok_or("neither data nor errors")?[0].message),
            }
        }
        _ => return Err("the arguments are keys RETRIEVER, keys, rename KEY NAME or rename".into()),
    }
    Ok(())
}

fn print(request: &impl serde::Serialize) -> Result<(), serde_json::Error> {
    println!("{}", serde_json::to_string(request)?);
    Ok(())
}
