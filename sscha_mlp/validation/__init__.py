"""What a model is worth: error metrics on unseen sets, and the certificate."""
