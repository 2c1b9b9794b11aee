"""Evaluations under attack: accuracies at fixed budgets, and norms of the smallest perturbations."""
