"""What the deployments are made of: answers that outlive their replicas, what is served now, who changes that."""
