"""What a step costs on many processes: a model, and measurements that check it."""
