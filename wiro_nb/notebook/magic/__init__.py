"""`%wiro` and `%%wiro`: parser, handlers, completion, help."""
