# OpenBao in compose: it unseals itself with the key of IMPLIO_UNSEAL_KEY (32 bytes, base64), and at its first start
# makes the Transit mount and the token of IMPLIO_BAO_TOKEN. Whoever has that key and the volume has every root key, so on
# many machines use the seal of a cloud or of an HSM instead.
storage "raft" {
  path    = "/openbao/file"
  node_id = "openbao"
}

api_addr     = "https://openbao:8200"
cluster_addr = "https://openbao:8201"

listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/tls/server.pem"
  tls_key_file  = "/tls/server-key.pem"
}

seal "static" {
  current_key_id = "compose-1"
  current_key    = "env://IMPLIO_UNSEAL_KEY"
}

initialize "implio" {
  request "transit" {
    operation = "update"
    path      = "sys/mounts/transit"
    data = {
      type = "transit"
    }
  }
  # docs/KEYS.md has what each class needs. `create` is for `implio init`, which makes the keys.
  request "policy" {
    operation = "update"
    path      = "sys/policies/acl/implio"
    data = {
      policy = "path \"transit/keys/*\" { capabilities = [\"create\", \"read\", \"update\"] }\npath \"transit/encrypt/*\" { capabilities = [\"update\"] }\npath \"transit/decrypt/*\" { capabilities = [\"update\"] }\npath \"transit/rewrap/*\" { capabilities = [\"update\"] }"
    }
  }
  request "token" {
    operation = "update"
    path      = "auth/token/create-orphan"
    data = {
      id = {
        eval_type   = "string"
        eval_source = "env"
        env_var     = "IMPLIO_BAO_TOKEN"
      }
      policies = ["implio"]
      period   = "768h"
    }
  }
}
