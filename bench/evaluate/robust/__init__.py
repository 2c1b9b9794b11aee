"""Evaluations under attack: accuracies at fixed budgets, and the smallest perturbations."""
